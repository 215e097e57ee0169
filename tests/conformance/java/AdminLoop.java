package org.apache.rocketmq.tools.command;

import java.io.BufferedReader;
import java.io.InputStreamReader;

/**
 * The real mqadmin, many commands in one JVM: each line of standard input is one command (fields split by
 * tabs), its output is followed by a line with only the end mark. Lives in this package because the list of
 * commands has to be emptied between calls: some commands keep a closed client in their instance.
 */
public class AdminLoop {
  static final String END = "--end--";

  public static void main(String[] args) throws Exception {
    System.setErr(System.out); // a command's error is part of what is compared
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      MQAdminStartup.SUB_COMMANDS.clear();
      try {
        MQAdminStartup.main0(line.split("\t"), null);
      } catch (Throwable t) {
        t.printStackTrace(System.out);
      }
      System.out.println();
      System.out.println(END);
      System.out.flush();
    }
    Runtime.getRuntime().halt(0);
  }
}
