// Real programs that are measured if the image has them. Each does a fixed amount of work, so that its
// time is the measure. They talk to themselves: over a socket in the file system, or the loopback
// interface.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FOLDER } from './level.js';
import type { Measure } from './measures.js';

export interface Program extends Measure {
  /** Paths of the image that it needs. */
  needs: readonly string[];
  command: readonly string[];
}

const program = (name: string, title: string, needs: readonly string[], ...command: readonly string[]): Program => {
  return { name, title, unit: 'ms', needs, command };
};

const shell = (script: string) => ['/bin/sh', '-ec', script] as const;

const SQL = `PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT);
WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000)
INSERT INTO t SELECT x, hex(x) FROM c; SELECT sum(length(b)) FROM t;`;

/** 200 functions, which a compiler cannot leave out. */
const GCC = `i=0; while [ $i -lt 200 ]; do echo "int f$i(int x) { int s = 0; for (int n = 0; n < x; n++) s += n ^ $i; return s; }"
i=$((i + 1)); done > /tmp/many.c; echo 'int main(void) { return 0; }' >> /tmp/many.c
gcc -O2 -o /tmp/many /tmp/many.c; /tmp/many; rm /tmp/many /tmp/many.c`;

const REDIS = `redis-server --port 0 --unixsocket /tmp/redis.sock --save '' --dir /tmp > /dev/null & server=$!
turn=0
until redis-cli -s /tmp/redis.sock ping > /dev/null 2>&1; do turn=$((turn + 1)); [ $turn -lt 200 ]; sleep 0.02; done
redis-benchmark -s /tmp/redis.sock -n 5000 -c 10 -q -t set,get; kill $server; wait $server || :`;

/** 127.0.0.1 at a port that few programs use. */
const NGINX = `echo 'user root; daemon off; master_process off; error_log stderr; pid /tmp/nginx.pid; events {} http { access_log off;
client_body_temp_path /tmp/n1; proxy_temp_path /tmp/n2; fastcgi_temp_path /tmp/n3; uwsgi_temp_path /tmp/n4; scgi_temp_path /tmp/n5;
server { listen 127.0.0.1:18085; location / { return 200 "hello\\n"; } } }' > /tmp/nginx.conf
nginx -c /tmp/nginx.conf & server=$!; turn=0
until ab -n 1 http://127.0.0.1:18085/ > /dev/null 2>&1; do turn=$((turn + 1)); [ $turn -lt 100 ]; sleep 0.02; done
ab -q -n 2000 -c 10 http://127.0.0.1:18085/ | grep '^Failed requests: *0$'; kill $server; wait $server || :`;

export const PROGRAMS: readonly Program[] = [
  program('python', 'python3: start and end', ['/usr/bin/python3'], 'python3', '-c', 'pass'),
  program(
    'sqlite',
    'sqlite3: 20,000 rows inserted and read',
    ['/usr/bin/sqlite3'],
    'sqlite3',
    '-bail',
    ':memory:',
    SQL,
  ),
  program(
    'sqlite-folder',
    'sqlite3: the same in the folder',
    ['/usr/bin/sqlite3', '/bin/sh'],
    ...shell(`rm -f ${FOLDER}/db*; sqlite3 -bail ${FOLDER}/db "$0"`),
    SQL,
  ),
  program('gcc', 'gcc: 200 functions', ['/usr/bin/gcc', '/bin/sh'], ...shell(GCC)),
  program(
    'redis',
    'redis: 5000 SET and 5000 GET',
    ['/usr/bin/redis-server', '/usr/bin/redis-benchmark', '/bin/sh'],
    ...shell(REDIS),
  ),
  program('nginx', 'nginx: 2000 requests of ab', ['/usr/sbin/nginx', '/usr/bin/ab', '/bin/sh'], ...shell(NGINX)),
  program(
    'fio',
    'fio: 16 MiB of 4 KiB reads and writes at random in the folder',
    ['/usr/bin/fio'],
    ...['fio', '--name=tsvm', `--filename=${FOLDER}/fio`, '--size=16m', '--bs=4k', '--rw=randrw', '--ioengine=psync'],
    ...['--allow_file_create=1', '--minimal'],
  ),
];

/** True if a program works in the folder of the host. */
export function programUsesFolder({ command }: Program): boolean {
  return command.some((word) => word.includes(FOLDER));
}

/** The programs that an image has. @param rootfs a folder with its files */
export function programsIn(rootfs: string): Program[] {
  // A link of the image may lead anywhere on the host: only that there is something counts.
  return PROGRAMS.filter(({ needs }) => needs.every((path) => existsSync(join(rootfs, path))));
}
