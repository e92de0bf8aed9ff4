// Runs Curator's recipes against one server: java -cp ... Recipes.java HOST:PORT
//
// Prints a line for each recipe. Exits with 1 at the first failure.
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import org.apache.curator.framework.*;
import org.apache.curator.framework.recipes.atomic.*;
import org.apache.curator.framework.recipes.barriers.*;
import org.apache.curator.framework.recipes.cache.*;
import org.apache.curator.framework.recipes.leader.*;
import org.apache.curator.framework.recipes.locks.*;
import org.apache.curator.framework.recipes.nodes.*;
import org.apache.curator.framework.recipes.queue.*;
import org.apache.curator.framework.recipes.shared.*;
import org.apache.curator.retry.*;
import org.apache.zookeeper.CreateMode;

public class Recipes {
    static String server;

    static CuratorFramework client() throws Exception {
        CuratorFramework c = CuratorFrameworkFactory.newClient(server, 15000, 10000, new RetryOneTime(100));
        c.start();
        if (!c.blockUntilConnected(10, TimeUnit.SECONDS)) throw new IllegalStateException("not connected");
        return c;
    }

    static void check(boolean good, String what) {
        if (!good) throw new IllegalStateException(what);
    }

    public static void main(String[] args) throws Exception {
        server = args[0];
        try (CuratorFramework a = client(); CuratorFramework b = client()) {
            mutex(a, b);
            say("InterProcessMutex");
            semaphore(a, b);
            say("InterProcessSemaphoreV2");
            readWrite(a, b);
            say("InterProcessReadWriteLock");
            latch(a, b);
            say("LeaderLatch");
            counter(a, b);
            say("DistributedAtomicLong");
            barrier(a, b);
            say("DistributedDoubleBarrier");
            cache(a, b);
            say("CuratorCache");
            queue(a, b);
            say("DistributedQueue");
            nodes(a, b);
            say("PersistentNode, PersistentTtlNode, containers");
            shared(a, b);
            say("SharedCount");
            transaction(a);
            say("transactions");
        }
    }

    static void say(String what) {
        System.out.println("ok " + what);
    }

    static void mutex(CuratorFramework a, CuratorFramework b) throws Exception {
        AtomicInteger inside = new AtomicInteger(), most = new AtomicInteger(), done = new AtomicInteger();
        ExecutorService pool = Executors.newFixedThreadPool(6);
        for (int i = 0; i < 6; i++) {
            CuratorFramework c = i % 2 == 0 ? a : b;
            pool.submit(() -> {
                InterProcessMutex lock = new InterProcessMutex(c, "/recipes/mutex");
                for (int n = 0; n < 5; n++) {
                    lock.acquire();
                    most.accumulateAndGet(inside.incrementAndGet(), Math::max);
                    inside.decrementAndGet();
                    lock.release();
                    done.incrementAndGet();
                }
                return null;
            });
        }
        pool.shutdown();
        check(pool.awaitTermination(60, TimeUnit.SECONDS), "mutex: stuck");
        check(most.get() == 1 && done.get() == 30, "mutex: " + most + " inside, " + done + " done");
    }

    static void semaphore(CuratorFramework a, CuratorFramework b) throws Exception {
        InterProcessSemaphoreV2 x = new InterProcessSemaphoreV2(a, "/recipes/semaphore", 2);
        InterProcessSemaphoreV2 y = new InterProcessSemaphoreV2(b, "/recipes/semaphore", 2);
        Lease one = x.acquire(), two = y.acquire();
        check(x.acquire(300, TimeUnit.MILLISECONDS) == null, "semaphore: a third lease");
        y.returnLease(two);
        Lease three = x.acquire(5, TimeUnit.SECONDS);
        check(three != null, "semaphore: no lease after a return");
        x.returnLease(one);
        x.returnLease(three);
    }

    static void readWrite(CuratorFramework a, CuratorFramework b) throws Exception {
        InterProcessReadWriteLock x = new InterProcessReadWriteLock(a, "/recipes/rw"), y = new InterProcessReadWriteLock(b, "/recipes/rw");
        x.readLock().acquire();
        check(y.readLock().acquire(5, TimeUnit.SECONDS), "rw: two readers");
        y.readLock().release();
        check(!y.writeLock().acquire(300, TimeUnit.MILLISECONDS), "rw: a writer beside a reader");
        x.readLock().release();
        check(y.writeLock().acquire(5, TimeUnit.SECONDS), "rw: no writer");
        y.writeLock().release();
    }

    static void latch(CuratorFramework a, CuratorFramework b) throws Exception {
        LeaderLatch x = new LeaderLatch(a, "/recipes/latch", "a");
        x.start();
        check(x.await(10, TimeUnit.SECONDS), "latch: no leader");
        LeaderLatch y = new LeaderLatch(b, "/recipes/latch", "b");
        y.start();
        check(!y.await(300, TimeUnit.MILLISECONDS), "latch: two leaders");
        x.close();
        check(y.await(10, TimeUnit.SECONDS), "latch: no successor");
        y.close();
    }

    static void counter(CuratorFramework a, CuratorFramework b) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        for (int i = 0; i < 4; i++) {
            CuratorFramework c = i % 2 == 0 ? a : b;
            pool.submit(() -> {
                DistributedAtomicLong n = new DistributedAtomicLong(c, "/recipes/counter", new RetryNTimes(1000, 2));
                for (int k = 0; k < 25; k++) check(n.increment().succeeded(), "counter");
                return null;
            });
        }
        pool.shutdown();
        check(pool.awaitTermination(60, TimeUnit.SECONDS), "counter: stuck");
        long value = new DistributedAtomicLong(a, "/recipes/counter", new RetryOneTime(10)).get().postValue();
        check(value == 100, "counter: " + value);
    }

    static void barrier(CuratorFramework a, CuratorFramework b) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(2);
        List<Future<Boolean>> results = new ArrayList<>();
        for (CuratorFramework c : List.of(a, b)) {
            results.add(pool.submit(() -> {
                DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(c, "/recipes/barrier", 2);
                return barrier.enter(20, TimeUnit.SECONDS) && barrier.leave(20, TimeUnit.SECONDS);
            }));
        }
        for (Future<Boolean> r : results) check(r.get(30, TimeUnit.SECONDS), "barrier");
        pool.shutdown();
    }

    static void cache(CuratorFramework a, CuratorFramework b) throws Exception {
        a.create().creatingParentsIfNeeded().forPath("/recipes/cache/old", bytes("0"));
        BlockingQueue<String> seen = new LinkedBlockingQueue<>();
        try (CuratorCache cache = CuratorCache.build(b, "/recipes/cache")) {
            CountDownLatch ready = new CountDownLatch(1);
            cache.listenable().addListener(CuratorCacheListener.builder()
                .forCreates(n -> seen.add("+" + n.getPath())).forDeletes(n -> seen.add("-" + n.getPath()))
                .forChanges((o, n) -> seen.add("=" + n.getPath())).forInitialized(ready::countDown).build());
            cache.start();
            check(ready.await(10, TimeUnit.SECONDS), "cache: not ready");
            seen.clear();
            a.create().forPath("/recipes/cache/new", bytes("1"));
            a.setData().forPath("/recipes/cache/new", bytes("2"));
            a.delete().forPath("/recipes/cache/new");
            check("-/recipes/cache/new".equals(last(seen, "-")), "cache: " + seen);
        }
    }

    static String last(BlockingQueue<String> seen, String prefix) throws Exception {
        for (int i = 0; i < 10; i++) {
            String s = seen.poll(10, TimeUnit.SECONDS);
            if (s == null || s.startsWith(prefix)) return s;
        }
        return null;
    }

    static void queue(CuratorFramework a, CuratorFramework b) throws Exception {
        BlockingQueue<String> got = new LinkedBlockingQueue<>();
        QueueSerializer<String> s = new QueueSerializer<>() {
            public byte[] serialize(String item) { return bytes(item); }
            public String deserialize(byte[] b) { return new String(b, StandardCharsets.UTF_8); }
        };
        QueueConsumer<String> consumer = new QueueConsumer<>() {
            public void consumeMessage(String m) { got.add(m); }
            public void stateChanged(CuratorFramework c, org.apache.curator.framework.state.ConnectionState n) { }
        };
        try (DistributedQueue<String> in = QueueBuilder.builder(a, null, s, "/recipes/queue").buildQueue();
             DistributedQueue<String> out = QueueBuilder.builder(b, consumer, s, "/recipes/queue").buildQueue()) {
            in.start();
            out.start();
            for (int i = 0; i < 20; i++) in.put("item" + i);
            for (int i = 0; i < 20; i++) check(("item" + i).equals(got.poll(10, TimeUnit.SECONDS)), "queue: item " + i);
        }
    }

    static void nodes(CuratorFramework a, CuratorFramework b) throws Exception {
        try (PersistentNode n = new PersistentNode(a, CreateMode.EPHEMERAL, false, "/recipes/node", bytes("x"))) {
            n.start();
            check(n.waitForInitialCreate(10, TimeUnit.SECONDS), "node: not created");
            b.delete().forPath("/recipes/node");
            for (int i = 0; i < 100 && b.checkExists().forPath("/recipes/node") == null; i++) Thread.sleep(50);
            check(b.checkExists().forPath("/recipes/node") != null, "node: not created again");
        }
        try (PersistentTtlNode n = new PersistentTtlNode(a, "/recipes/ttl", 60000, bytes("x"))) {
            n.start();
            check(n.waitForInitialCreate(10, TimeUnit.SECONDS), "ttl: not created");
        }
        a.createContainers("/recipes/container/a");
        check(a.checkExists().forPath("/recipes/container/a").getEphemeralOwner() == 0, "container: owner");
    }

    static void shared(CuratorFramework a, CuratorFramework b) throws Exception {
        try (SharedCount x = new SharedCount(a, "/recipes/shared", 1); SharedCount y = new SharedCount(b, "/recipes/shared", 1)) {
            x.start();
            y.start();
            CountDownLatch changed = new CountDownLatch(1);
            y.addListener(new SharedCountListener() {
                public void countHasChanged(SharedCountReader r, int n) { if (n == 7) changed.countDown(); }
                public void stateChanged(CuratorFramework c, org.apache.curator.framework.state.ConnectionState s) { }
            });
            x.setCount(7);
            check(changed.await(10, TimeUnit.SECONDS), "shared: not told");
        }
    }

    static void transaction(CuratorFramework a) throws Exception {
        var results = a.transaction().forOperations(a.transactionOp().create().forPath("/recipes/tx", bytes("1")),
            a.transactionOp().setData().forPath("/recipes/tx", bytes("2")), a.transactionOp().check().forPath("/recipes/tx"),
            a.transactionOp().delete().forPath("/recipes/tx"));
        check(results.size() == 4 && results.stream().allMatch(r -> r.getError() == 0), "transaction");
        try {
            a.transaction().forOperations(a.transactionOp().create().forPath("/recipes/tx2"), a.transactionOp().delete().forPath("/recipes/no"));
            check(false, "transaction: should fail");
        } catch (org.apache.zookeeper.KeeperException.NoNodeException e) {
            check(a.checkExists().forPath("/recipes/tx2") == null, "transaction: half done");
        }
    }

    static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }
}
