// Measures locks and queues with one Java client: Curator's recipes on any ZooKeeper, or the recipes of our server.
//
//   java -cp ... LocksAndQueues.java WHAT HOSTS CLIENTS SECONDS
//
// WHAT              what the clients do curator-lock      CLIENTS sessions contend for one InterProcessMutex
// server-lock       CLIENTS sessions contend for one lock of the recipe `lock`, mounted at /locks curator-alone
// each of CLIENTS sessions acquires and releases a lock of its own server-alone      the same with the recipe `lock`
// curator-queue     CLIENTS workers take and acknowledge items of a DistributedQueue. It has a lock path, so that the
// item of
//                   a lost worker comes back
// server-queue      the same with the recipe `queue`, mounted at /queue: a worker acknowledges an item with its next
// claim
//
// Prints one line of JSON: operations a second, and for locks how long a client waited, in milliseconds.
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import org.apache.curator.framework.*;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.queue.*;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryOneTime;
import org.apache.zookeeper.*;
import org.apache.zookeeper.data.Stat;

public class LocksAndQueues {
    static final byte[] NOTHING = {};
    static final List<org.apache.zookeeper.data.ACL> OPEN = ZooDefs.Ids.OPEN_ACL_UNSAFE;
    static String hosts;
    static int clients;
    static long seconds;

    public static void main(String[] args) throws Exception {
        hosts = args[1];
        clients = Integer.parseInt(args[2]);
        seconds = Long.parseLong(args[3]);
        switch (args[0]) {
            case "curator-lock" -> locks(args[0], false, true);
            case "server-lock" -> locks(args[0], true, true);
            case "curator-alone" -> locks(args[0], false, false);
            case "server-alone" -> locks(args[0], true, false);
            case "curator-queue" -> curatorQueue();
            case "server-queue" -> serverQueue();
            default -> throw new IllegalArgumentException(args[0]);
        }
        System.exit(0);
    }

    /** A lock that one thread acquires and releases. */
    interface Lock {
        void acquire() throws Exception;
        void release() throws Exception;
    }

    static void locks(String what, boolean byServer, boolean contended) throws Exception {
        String run = what + "-" + System.currentTimeMillis();
        AtomicInteger holders = new AtomicInteger();
        AtomicLong handovers = new AtomicLong();
        AtomicBoolean counting = new AtomicBoolean(), stopping = new AtomicBoolean();
        List<Long> waits = Collections.synchronizedList(new ArrayList<>());
        List<Thread> threads = new ArrayList<>();
        CountDownLatch ready = new CountDownLatch(clients);
        CountDownLatch go = new CountDownLatch(1);
        for (int i = 0; i < clients; i++) {
            String name = contended ? run : run + "-" + i;
            Lock lock = byServer ? serverLock(name) : curatorLock(name);
            threads.add(start(() -> {
                try {
                    lock.acquire();
                    lock.release();
                    ready.countDown();
                    go.await();
                    while (!stopping.get()) {
                        long asked = System.nanoTime();
                        lock.acquire();
                        long held = System.nanoTime();
                        if (contended && holders.incrementAndGet() != 1) fail("two holders at once");
                        if (counting.get()) {
                            handovers.incrementAndGet();
                            waits.add(held - asked);
                        }
                        if (contended) holders.decrementAndGet();
                        lock.release();
                    }
                } catch (Throwable t) {
                    if (!stopping.get()) fail(t.toString());
                }
            }));
        }
        ready.await();
        go.countDown();
        Thread.sleep(1000);
        counting.set(true);
        long begun = System.nanoTime();
        Thread.sleep(seconds * 1000);
        counting.set(false);
        double took = (System.nanoTime() - begun) / 1e9;
        stopping.set(true);
        Long[] sorted = waits.toArray(new Long[0]);
        Arrays.sort(sorted);
        System.out.printf(Locale.ROOT,
                "{\"what\":\"%s\",\"clients\":%d,\"per_second\":%.1f,\"wait_ms_p50\":%.2f,\"wait_ms_p99\":%.2f}%n",
                what, clients, handovers.get() / took, percentile(sorted, 0.5), percentile(sorted, 0.99));
    }

    static Thread start(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    static double percentile(Long[] sorted, double part) {
        return sorted.length == 0 ? 0 : sorted[(int) Math.min(sorted.length - 1, sorted.length * part)] / 1e6;
    }

    static void fail(String why) {
        System.err.println("failed: " + why);
        System.exit(1);
    }

    static CuratorFramework curator() throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient(hosts, 30000, 15000, new RetryOneTime(100));
        client.start();
        if (!client.blockUntilConnected(20, TimeUnit.SECONDS)) fail("not connected to " + hosts);
        return client;
    }

    static ZooKeeper client() throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper client = new ZooKeeper(hosts, 30000, event -> {
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) connected.countDown();
        });
        if (!connected.await(20, TimeUnit.SECONDS)) fail("not connected to " + hosts);
        return client;
    }

    static Lock curatorLock(String name) throws Exception {
        InterProcessMutex mutex = new InterProcessMutex(curator(), "/bench-locks/" + name);
        return new Lock() {
            public void acquire() throws Exception {
                mutex.acquire();
            }
            public void release() throws Exception {
                mutex.release();
            }
        };
    }

    /** plugins/lock/README.md: join, watch the own node until it says that it holds, leave. */
    static Lock serverLock(String name) throws Exception {
        ZooKeeper client = client();
        String member = "/locks/" + name + "/lock-";
        return new Lock() {
            String own;
            public void acquire() throws Exception {
                own = client.create(member, NOTHING, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL);
                while (true) {
                    Semaphore changed = new Semaphore(0);
                    byte[] data = client.getData(own, event -> changed.release(), null);
                    if (new String(data, StandardCharsets.UTF_8).contains("\"held\"")) return;
                    changed.acquire();
                }
            }
            public void release() throws Exception {
                client.delete(own, -1);
            }
        };
    }

    /** Items put before the workers begin, so that none of them waits for a producer. */
    static int items() {
        return Integer.getInteger("items", 2000);
    }

    static void queueResult(String what, long taken, long nanos) {
        System.out.printf(Locale.ROOT, "{\"what\":\"%s\",\"clients\":%d,\"items\":%d,\"per_second\":%.1f}%n", what, clients, taken,
                taken / (nanos / 1e9));
    }

    static void curatorQueue() throws Exception {
        String path = "/bench-queue-" + System.currentTimeMillis();
        QueueSerializer<String> text = new QueueSerializer<>() {
            public byte[] serialize(String item) {
                return item.getBytes(StandardCharsets.UTF_8);
            }
            public String deserialize(byte[] bytes) {
                return new String(bytes, StandardCharsets.UTF_8);
            }
        };
        DistributedQueue<String> producer = QueueBuilder.builder(curator(), null, text, path).buildQueue();
        producer.start();
        for (int i = 0; i < items(); i++) producer.put("item-" + i);
        if (!producer.flushPuts(60, TimeUnit.SECONDS)) fail("items were not put in time");
        CountDownLatch left = new CountDownLatch(items());
        List<CuratorFramework> connections = new ArrayList<>();
        for (int i = 0; i < clients; i++) connections.add(curator());
        long begun = System.nanoTime();
        for (CuratorFramework connection : connections) {
            QueueConsumer<String> consumer = new QueueConsumer<>() {
                public void consumeMessage(String item) {
                    left.countDown();
                }
                public void stateChanged(CuratorFramework client, ConnectionState state) {}
            };
            QueueBuilder.builder(connection, consumer, text, path).lockPath(path + "-locks").buildQueue().start();
        }
        if (!left.await(Math.max(120, seconds), TimeUnit.SECONDS)) fail(left.getCount() + " items were not taken in time");
        queueResult("curator-queue", items(), System.nanoTime() - begun);
    }

    /** plugins/queue/README.md: claim, watch the own claim until it names an item, acknowledge and claim again. */
    static void serverQueue() throws Exception {
        String queue = "/queue/bench-" + System.currentTimeMillis();
        ZooKeeper producer = client();
        CountDownLatch put = new CountDownLatch(items());
        for (int i = 0; i < items(); i++) {
            producer.create(queue + "/items/item-", ("item-" + i).getBytes(StandardCharsets.UTF_8), OPEN,
                    CreateMode.PERSISTENT_SEQUENTIAL, (code, path, context, name) -> {
                        if (code != 0) fail("put: " + KeeperException.Code.get(code));
                        put.countDown();
                    }, null);
        }
        if (!put.await(60, TimeUnit.SECONDS)) fail("items were not put in time");
        CountDownLatch left = new CountDownLatch(items());
        Set<String> seen = ConcurrentHashMap.newKeySet();
        List<ZooKeeper> connections = new ArrayList<>();
        for (int i = 0; i < clients; i++) connections.add(client());
        String claims = queue + "/claims/w-";
        long begun = System.nanoTime();
        for (ZooKeeper client : connections) {
            start(() -> {
                try {
                    String claim = client.create(claims, NOTHING, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL);
                    while (true) {
                        Semaphore changed = new Semaphore(0);
                        byte[] data = client.getData(claim, event -> changed.release(), new Stat());
                        if (data == null || data.length == 0) {
                            changed.acquire();
                            continue;
                        }
                        String head = new String(data, StandardCharsets.UTF_8).lines().findFirst().orElse("");
                        if (!seen.add(head)) fail("taken twice: " + head);
                        left.countDown();
                        List<OpResult> both = client.multi(List.of(Op.delete(claim, -1),
                                Op.create(claims, NOTHING, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL)));
                        claim = ((OpResult.CreateResult) both.get(1)).getPath();
                    }
                } catch (Throwable t) {
                    if (left.getCount() > 0) fail(t.toString());
                }
            });
        }
        if (!left.await(Math.max(120, seconds), TimeUnit.SECONDS)) fail(left.getCount() + " items were not taken in time");
        queueResult("server-queue", items(), System.nanoTime() - begun);
    }
}
