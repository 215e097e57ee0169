import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.rocketmq.filter.SqlFilter;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;
import org.apache.rocketmq.filter.expression.MQFilterException;
import org.apache.rocketmq.filter.util.BloomFilter;
import org.apache.rocketmq.filter.util.BloomFilterData;

/**
 * What RocketMQ's own filter answers: one line for each expression of expressions.txt, and for so many
 * random ones, with one letter for each message of messages.txt: t(rue), f(alse), n(ull), x (an exception).
 * A line with a lone "E" instead is an expression that is refused.
 *
 *   java SqlAnswers DIR SEED COUNT > DIR/answers.txt
 *   java SqlAnswers bloom > DIR/bloom.txt    "error count entry: bits, positions" of its bloom filters
 */
public class SqlAnswers {
    private static final String[] OPERANDS = {
        "a", "b", "c", "missing", "5", "6L", "3000000000", "5.5", "0", "'x'", "'5'", "''", "TRUE", "FALSE", "NULL", "-5", "-a",
    };
    private static final String[] TOKENS = {
        "a", "b", "missing", "5", "5.5", "'x'", "TRUE", "NULL", "=", "<>", "<", "<=", ">", ">=", "AND", "OR", "NOT", "IS",
        "IN", "BETWEEN", "CONTAINS", "STARTSWITH", "ENDSWITH", "(", ")", ",", "+", "-", "('x', '5')", "IS NULL", "IS NOT NULL",
    };
    private static final String[] COMPARISONS = {"=", "<>", "<", "<=", ">", ">="};
    private static final String[] MATCHES = {"CONTAINS", "STARTSWITH", "ENDSWITH", "NOT CONTAINS", "NOT STARTSWITH", "NOT ENDSWITH"};

    public static void main(String[] args) throws Exception {
        if (args[0].equals("bloom")) {
            blooms();
            return;
        }
        Path dir = Path.of(args[0]);
        List<Map<String, String>> messages = new ArrayList<>();
        for (String line : Files.readAllLines(dir.resolve("messages.txt"))) {
            Map<String, String> message = new HashMap<>();
            for (String pair : line.split(";")) {
                int at = pair.indexOf('=');
                if (at > 0) {
                    message.put(pair.substring(0, at), pair.substring(at + 1));
                }
            }
            messages.add(message);
        }
        List<String> expressions = new ArrayList<>(Files.readAllLines(dir.resolve("expressions.txt")));
        Random random = new Random(Long.parseLong(args[1]));
        int count = Integer.parseInt(args[2]);
        for (int i = 0; i < count; i++) {
            expressions.add(i % 2 == 0 ? condition(random, 3) : tokens(random));
        }
        StringBuilder out = new StringBuilder();
        for (String expression : expressions) {
            out.append(answers(unescape(expression), messages)).append('\t').append(expression).append('\n');
        }
        System.out.write(out.toString().getBytes("UTF-8"));
        System.out.flush();
    }

    private static void blooms() {
        for (int[] dimensions : new int[][] {{20, 32}, {1, 1}, {10, 64}, {50, 7}, {99, 3}}) {
            BloomFilter filter = BloomFilter.createByFn(dimensions[0], dimensions[1]);
            for (String entry : new String[] {"G#T", "", "group_a#topic_b", "a group with a longer name#and a topic with one", "g\u00e9#\u6f22"}) {
                BloomFilterData data = filter.generate(entry);
                System.out.println(dimensions[0] + "\t" + dimensions[1] + "\t" + entry + "\t" + data.getBitNum() + "\t"
                    + java.util.Arrays.toString(data.getBitPos()).replaceAll("[\\[\\] ]", ""));
            }
        }
    }

    private static String unescape(String text) {
        return text.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t").replace("\\f", "\f").replace("\\u00a0", "\u00a0");
    }

    private static String answers(String text, List<Map<String, String>> messages) {
        Expression expression;
        try {
            expression = new SqlFilter().compile(text);
        } catch (MQFilterException refused) {
            return "E";
        }
        StringBuilder answers = new StringBuilder();
        for (Map<String, String> message : messages) {
            answers.append(answer(expression, message));
        }
        return answers.toString();
    }

    private static char answer(Expression expression, Map<String, String> message) {
        try {
            Object value = expression.evaluate(new EvaluationContext() {
                @Override
                public Object get(String name) {
                    return message.get(name);
                }

                @Override
                public Map<String, Object> keyValues() {
                    return new HashMap<>(message);
                }
            });
            return value == null ? 'n' : (Boolean) value ? 't' : 'f';
        } catch (Exception failed) {
            return 'x';
        }
    }

    private static String pick(Random random, String[] words) {
        return words[random.nextInt(words.length)];
    }

    private static String tokens(Random random) {
        StringBuilder text = new StringBuilder();
        for (int left = 1 + random.nextInt(8); left > 0; left--) {
            text.append(pick(random, TOKENS)).append(left > 1 ? " " : "");
        }
        return text.toString();
    }

    private static String condition(Random random, int depth) {
        String left = pick(random, OPERANDS);
        switch (random.nextInt(depth > 0 ? 10 : 6)) {
            case 0:
            case 1:
                return left + " " + pick(random, COMPARISONS) + " " + pick(random, OPERANDS);
            case 2:
                return left + " " + pick(random, MATCHES) + " " + pick(random, new String[] {"'x'", "'5'", "''", "'t'"});
            case 3:
                return left + (random.nextBoolean() ? "" : " NOT") + " BETWEEN " + pick(random, OPERANDS) + " AND " + pick(random, OPERANDS);
            case 4:
                return left + (random.nextBoolean() ? "" : " NOT") + " IN ('x', '5', 'true')";
            case 5:
                return left + (random.nextBoolean() ? " IS NULL" : " IS NOT NULL");
            case 6:
                return condition(random, depth - 1) + " AND " + condition(random, depth - 1);
            case 7:
                return condition(random, depth - 1) + " OR " + condition(random, depth - 1);
            case 8:
                return "NOT (" + condition(random, depth - 1) + ")";
            default:
                return "(" + condition(random, depth - 1) + ")";
        }
    }
}
