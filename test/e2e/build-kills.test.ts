// Builds with RUN machines whose processes are killed at random: the callers, machines, and what
// these have started. The store and the cache stay whole, the next build makes the same image, and
// no process, folder or mount is left.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { Home } from '../../sandbox/home/home.js';
import { Random } from '../fixtures/random.js';
import { DEBIAN, run, TSVM, uml } from './machine.js';
import { copyStores, list } from './own-home.js';

/** Those in the suite. `TSVM_KILLS=100` kills more. */
const KILLS = Number(process.env.TSVM_KILLS ?? 3);
const SEED = Number(process.env.TSVM_KILLS_SEED ?? 1);
/** Longer than a process takes to disappear on a busy machine, in milliseconds. */
const PATIENCE = 60_000;

let context: string;
let runtime: string;
let home: string;

beforeAll(() => {
  context = mkdtempSync('/var/tmp/tsvm-build-kills-');
  runtime = mkdtempSync('/tmp/tsvm-build-kills-');
  home = copyStores(new Home().path, join(dirname(inject('homes').here), 'build-kills'));
  writeFileSync(join(context, 'file'), 'bound');
  // Two stages run at once. What a RUN leaves in a cache mount is of no layer.
  writeFileSync(
    join(context, 'Dockerfile'),
    `FROM ${DEBIAN} AS one
ARG ROUND
RUN --mount=type=cache,target=/cache,sharing=locked echo $ROUND >> /cache/rounds; echo $ROUND > /one
RUN --mount=type=bind,target=/mnt cat /mnt/file > /bound
FROM ${DEBIAN}
ARG ROUND
RUN seq 100000 > /numbers && echo $ROUND > /two
COPY --from=one /one /bound /
RUN cat /one /two > /both
`,
  );
});

afterAll(() => {
  for (const folder of [context, runtime, home]) rmSync(folder, { recursive: true, force: true });
});

const env = () => ({ TSVM_HOME: home, XDG_RUNTIME_DIR: runtime, SOURCE_DATE_EPOCH: '1' });

function build(round: number, ...options: string[]) {
  const argv = [TSVM, 'build', '--progress', 'quiet', '-t', 'made', '--build-arg', `ROUND=${round}`];
  return run(uml, [...argv, ...options, context], { env: env(), timeout: 600_000 });
}

interface Found {
  pid: number;
  parent: number;
  isOurs: boolean;
}

function readProcess(pid: number): Found[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') return [];
    const isOurs = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`TSVM_HOME=${home}`);
    return [{ pid, parent: Number(parent), isOurs }];
  } catch {
    // It has ended meanwhile.
    return [];
  }
}

/** Once seen, a process is ours: its parent may be killed before it. */
const seen = new Set<number>();

/** The processes of our home and their descendants, whose environment may be empty. */
function processes(): number[] {
  const all = list('/proc').flatMap((name) => (/^\d+$/.test(name) ? readProcess(Number(name)) : []));
  const ours = new Set<number>();
  for (let before = -1; before < ours.size; ) {
    before = ours.size;
    for (const { pid, parent, isOurs } of all) if (isOurs || seen.has(pid) || ours.has(parent)) ours.add(pid);
  }
  for (const pid of ours) seen.add(pid);
  return [...ours];
}

async function noProcess(): Promise<void> {
  const end = performance.now() + PATIENCE;
  while (processes().length > 0 && performance.now() < end) await sleep(50);
  const left = processes().map((pid) => execFileSync('ps', ['-o', 'pid,args', '-p', `${pid}`], { encoding: 'utf8' }));
  expect(left).toEqual([]);
}

test(
  `${KILLS} kills at random during builds with machines`,
  async () => {
    const random = new Random(SEED);
    const began = performance.now();
    expect(await build(-1, '--no-cache')).toMatchObject({ code: 0, stderr: '' });
    const time = performance.now() - began;
    const layers = list(join(home, 'store-2/layers')).length;
    const outcomes = new Map<number | null, number>();
    for (let round = 0; round < KILLS; round++) {
      const running = build(round);
      await sleep((time * random.below(1000)) / 1000);
      const all = processes();
      const victim = all.length === 0 ? undefined : random.pick(all);
      if (victim !== undefined) {
        try {
          process.kill(victim, 'SIGKILL');
        } catch {
          // It has ended meanwhile.
        }
      }
      const { code, stderr } = await running;
      outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
      // What fails says so in one line; a command of RUN that was killed comes with its lines.
      const told = stderr.split('\n').filter((line) => line.startsWith('tsvm: '));
      if (code === 1 || code === 125) expect(told, `seed ${SEED}, round ${round}: ${stderr}`).toHaveLength(1);
      expect(stderr, `seed ${SEED}, round ${round}`).not.toMatch(/^ +at /m);
      await noProcess();
    }
    // The next build of what was killed is right, and so is the cache of the one before the kills.
    const last = await build(KILLS - 1);
    expect(last, `seed ${SEED}: ${JSON.stringify([...outcomes])}`).toMatchObject({ code: 0, stderr: '' });
    const both = await run(uml, [TSVM, 'run', '--rm', 'made', 'sh', '-c', 'cat /both /bound; tail -n 1 /numbers'], {
      env: env(),
    });
    expect(both.stdout).toBe(`${KILLS - 1}\n${KILLS - 1}\nbound100000\n`);
    const again = await build(KILLS - 1, '--no-cache');
    expect(again).toMatchObject({ code: 0, stdout: last.stdout });
    expect(layers).toBeGreaterThan(0);
    await noProcess();
    expect(list(join(home, 'store-2/tmp'))).toEqual([]);
    expect(await run(uml, [TSVM, 'ps', '-aq'], { env: env() })).toMatchObject({ code: 0, stdout: '', stderr: '' });
    const containers = readdirSync(join(home, 'containers')).filter((name) => /^[0-9a-f]{64}$/.test(name));
    expect(containers).toEqual([]);
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    expect(mounts.filter((line) => line.includes(home) || line.includes(runtime))).toEqual([]);
    expect(list(join(runtime, 'tsvm')).filter((name) => name !== 'networks' && name !== 'lock')).toEqual([]);
  },
  600_000 + KILLS * 120_000,
);
