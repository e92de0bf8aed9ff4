/* Runs the C client against one server: smoke HOST:PORT. Prints a line for each step. Exits with 1 at the first failure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

static volatile int connected, events;
static void watcher(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh; (void)path; (void)context;
    if (type == ZOO_SESSION_EVENT && state == ZOO_CONNECTED_STATE) connected = 1;
    if (type != ZOO_SESSION_EVENT) events++;
}
static void must(int rc, int wanted, const char *step) {
    if (rc != wanted) { fprintf(stderr, "%s: %s, wanted %s\n", step, zerror(rc), zerror(wanted)); exit(1); }
    printf("ok %s\n", step);
}
int main(int argc, char **argv) {
    char path[128], data[128];
    int length = sizeof data, i;
    struct Stat stat;
    struct String_vector children;
    struct ACL_vector acl;
    zoo_op_t ops[3];
    zoo_op_result_t results[3];
    if (argc != 2) return 2;
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zhandle_t *zh = zookeeper_init(argv[1], watcher, 10000, NULL, NULL, 0);
    for (i = 0; i < 100 && !connected; i++) usleep(100000);
    must(connected ? ZOK : ZCONNECTIONLOSS, ZOK, "connect");
    zoo_delete(zh, "/c-smoke", -1);
    must(zoo_create(zh, "/c-smoke", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZOK, "create");
    must(zoo_create(zh, "/c-smoke", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZNODEEXISTS, "create again");
    must(zoo_wget(zh, "/c-smoke", watcher, NULL, data, &length, &stat), ZOK, "get");
    must(length == 3 && !memcmp(data, "one", 3) && stat.version == 0 ? ZOK : ZSYSTEMERROR, ZOK, "what get returned");
    must(zoo_set2(zh, "/c-smoke", "two!", 4, 0, &stat), ZOK, "set");
    for (i = 0; i < 50 && !events; i++) usleep(100000);
    must(events == 1 ? ZOK : ZSYSTEMERROR, ZOK, "watch");
    must(zoo_set(zh, "/c-smoke", "x", 1, 0), ZBADVERSION, "set with an old version");
    must(zoo_create(zh, "/c-smoke/e-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL | ZOO_SEQUENCE, path, sizeof path), ZOK, "sequential ephemeral");
    must(strcmp(path, "/c-smoke/e-0000000000") ? ZSYSTEMERROR : ZOK, ZOK, "its name");
    must(zoo_get_children2(zh, "/c-smoke", 0, &children, &stat), ZOK, "children");
    must(children.count == 1 && stat.numChildren == 1 ? ZOK : ZSYSTEMERROR, ZOK, "their number");
    deallocate_String_vector(&children);
    must(zoo_get_acl(zh, "/c-smoke", &acl, &stat), ZOK, "acl");
    deallocate_ACL_vector(&acl);
    zoo_create_op_init(&ops[0], "/c-smoke/m", "1", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    zoo_set_op_init(&ops[1], "/c-smoke/m", "2", 1, 0, &stat);
    zoo_delete_op_init(&ops[2], "/c-smoke/m", 1);
    must(zoo_multi(zh, 3, ops, results), ZOK, "multi");
    zoo_delete_op_init(&ops[2], "/c-smoke/none", -1);
    must(zoo_multi(zh, 3, ops, results), ZNONODE, "failing multi");
    must(zoo_exists(zh, "/c-smoke/m", 0, &stat), ZNONODE, "which did nothing");
    must(zoo_add_auth(zh, "digest", "u:p", 3, NULL, NULL), ZOK, "add auth");
    must(zoo_delete(zh, "/c-smoke", -1), ZNOTEMPTY, "delete with a child");
    must(zoo_delete(zh, "/c-smoke/e-0000000000", -1), ZOK, "delete the child");
    must(zoo_delete(zh, "/c-smoke", -1), ZOK, "delete");
    must(zookeeper_close(zh), ZOK, "close");
    return 0;
}
