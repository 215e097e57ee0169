import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What the programs of this folder share: a verb each, a first difference that ends them with 1. */
final class Verbs {
  static final String NS = System.getenv("NAMESRV_ADDR");

  interface Verb { void run(String[] a) throws Exception; }

  /** Runs the verb with the arguments; tells what differed. Never returns. */
  static void run(String[] a, Verb verb) {
    int code = 0;
    try {
      verb.run(a);
    } catch (Throwable t) {
      System.out.println("FAILED " + String.join(" ", a) + ": " + t);
      if (!(t instanceof AssertionError)) t.printStackTrace(System.out);
      code = 1;
    }
    System.out.flush();
    Runtime.getRuntime().halt(code);
  }

  static DefaultMQAdminExt admin() throws Exception {
    DefaultMQAdminExt admin = new DefaultMQAdminExt(10_000);
    admin.setNamesrvAddr(NS);
    admin.start();
    return admin;
  }

  static void check(boolean good, String what) { if (!good) throw new AssertionError(what); }
}
