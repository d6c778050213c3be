// Real software in a container that is suspended and resumed: databases lose and
// damage nothing, timers fire once and in order, and connections with the outside are made anew.
// TSVM_CYCLES makes the cycles as many as there is time for.
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openStore } from '../../images/index.js';
import { debianImages } from '../fixtures/debian-images.js';
import { isLab, machines, readUntil, run, TSVM } from './machine.js';
import { script } from './script.js';

const PROGRAMS = fileURLToPath(new URL('../fixtures/guest-programs', import.meta.url));
/** How often the container is suspended. */
const CYCLES = Number(process.env.TSVM_CYCLES ?? 1);
/**
 * The maximum time for one of them, in milliseconds, above that of the rest. The lab hashes memory
 * slowly.
 */
const TIMEOUT = 600_000;

/** Answers each line with itself. Says which connection has sent it. */
const ECHO = `
import itertools, socketserver
connections = itertools.count(1)
class Echo(socketserver.StreamRequestHandler):
  def handle(self):
    connection = next(connections)
    try:
      for line in self.rfile:
        print(connection, line.decode(), end='', flush=True)
        self.wfile.write(line)
    except OSError:
      pass
server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Echo)
print('port', server.server_address[1], 'ready', flush=True)
server.serve_forever()`;

/** A folder that every machine sees, with a home. */
let folder: string;
let home: string;
/** ID of an image with all the servers. */
let image: string;

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  home = join(folder, 'home');
  image = (await openStore(home).resolve(`oci:${debianImages()}:servers`)).digest;
});

afterAll(() => rmSync(folder, { recursive: true }));

/** The numbers of the lines `NAME N`. */
function numbers(lines: readonly string[], name: string): number[] {
  return lines.flatMap((line) => (line.startsWith(`${name} `) ? Number(line.slice(name.length + 1)) : []));
}

const counted = (length: number) => Array.from({ length }, (_, index) => index + 1);

describe.each(machines.filter((machine) => isLab(machine) || machine.name.endsWith('kvm')))('on $name', (machine) => {
  test(`PostgreSQL under pgbench, redis, Node.js and a client of a server outside are suspended and resumed (${CYCLES})`, {
    timeout: 660_000 + CYCLES * TIMEOUT,
  }, async () => {
    const echo = machine.spawn(['/usr/bin/python3', '-c', ECHO]);
    try {
      const [, port = ''] = /port (\d+) /.exec(await readUntil(echo.stdout, 'ready'))!;
      let asked = '';
      echo.stdout.on('data', (text) => {
        asked += text;
      });
      const options = `--allow-net host-gateway:${port} --add-host outside:host-gateway -v ${PROGRAMS}:/programs:ro`;
      const said = await script(
        machine,
        `
        tsvm run -d --name work -u postgres -m 192m --disk 256m ${options} ${image} /programs/saved/work.sh ${port} > /dev/null
        log=$(tsvm inspect -f '{{.LogPath}}' work)
        until test -e $log; do sleep 0.2; done
        # Each of the four has done something more, and something after that.
        worked() {
          for kind in sent timer redis echo; do
            wanted=$(($(grep -c "\\"log\\":\\"$kind " $log || true) + 4))
            until test $(grep -c "\\"log\\":\\"$kind " $log) -ge $wanted; do sleep 0.2; done
          done
        }
        worked
        for cycle in $(seq ${CYCLES}); do
          tsvm suspend work > /dev/null
          tsvm resume work > /dev/null
          worked
        done
        tsvm logs work
        echo "== checked"
        tsvm exec work /programs/saved/check.sh
        tsvm kill work > /dev/null`,
        { env: { TSVM_HOME: home }, timeout: 600_000 + CYCLES * TIMEOUT },
      );
      const [before = '', after = ''] = said.split('== checked\n');
      const [done, found] = [before.trimEnd().split('\n'), after.trimEnd().split('\n')];
      expect(done.filter((line) => !/^(sent|timer|redis|echo) /.test(line))).toEqual([]);

      // A client that sends a row has been told that the one before is committed.
      const rows = new Set(found.filter((line) => line.startsWith('row ')));
      const acknowledged = done.flatMap((line) => {
        const [, of, n] = /^sent (\d+, \d+), (\d+)$/.exec(line) ?? [];
        return of === undefined || n === '1' ? [] : `row ${of}, ${Number(n) - 1}`;
      });
      expect(acknowledged.length).toBeGreaterThan(2 * CYCLES);
      expect(acknowledged.filter((row) => !rows.has(row))).toEqual([]);
      const values = numbers(found, 'values')[0]!;
      expect(found.filter((line) => !rows.has(line))).toEqual(['balanced, t', 'index, , ', `values ${values}`]);

      for (const name of ['timer', 'redis', 'echo']) {
        const all = numbers(done, name);
        expect(all.length).toBeGreaterThan(4 * CYCLES);
        expect(all).toEqual(counted(all.length));
      }
      expect(values).toBeGreaterThanOrEqual(numbers(done, 'redis').length);

      // Each resume has one connection more, which begins with the question that had no answer.
      const questions = [...asked.matchAll(/^(\d+) (\d+)$/gm)].map(([, of, n]) => [Number(of), Number(n)]);
      expect([...new Set(questions.map(([of]) => of))]).toEqual(counted(CYCLES + 1));
      for (const [at, [, n]] of questions.entries()) expect([n, n! - 1]).toContain(questions[at - 1]?.[1] ?? 0);
    } finally {
      echo.kill('SIGTERM');
      await run(machine, ['sh', '-c', `'${TSVM}' ps -aq | xargs -r '${TSVM}' rm -f`], { env: { TSVM_HOME: home } });
      await echo.exit;
    }
  });
});
