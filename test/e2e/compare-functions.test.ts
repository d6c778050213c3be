// The functions of a kernel that processes reach, where the answer is known: in a guest of the level
// `qemu`, whose kernel of Debian has a function tracer and runs no other work.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { addGauge } from '../../compare/gauge-image.js';
import { levelsOf } from '../../compare/index.js';
import { run, startIdling } from '../../compare/running.js';
import { parseReached } from '../../compare/surface/reached.js';
import { Home } from '../../sandbox/index.js';
import { DEBIAN } from './machine.js';

/**
 * A program waits, calls getppid, says so, and waits. It is traced from the first wait to the second.
 * The tracer's instance is gone afterwards.
 */
const GETPPID = `set -e; cd /tmp; mkfifo in end; mount -t tracefs tracefs /sys/kernel/tracing
perl -e '$| = 1; print "up\\n"; <STDIN>; getppid for 1..1000; print "done\\n"; <STDIN>' < in > out & program=$!
exec 3> in
until grep -q up out; do sleep 0.1; done
/.tsvm-gauge reached known $program < end > names & tracer=$!
exec 4> end
until grep -q ready names; do sleep 0.1; done
echo >&3
until grep -q done out; do sleep 0.1; done
exec 4>&-; wait $tracer
cat names; test -z "$(ls /sys/kernel/tracing/instances)"
exec 3>&-; wait $program; rm in end out names; umount /sys/kernel/tracing`;

test('a program that calls only getppid reaches its function, those of its streams, and few others', async () => {
  const { signal } = new AbortController();
  const { images } = new Home(inject('homes').here);
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  const [rootfs, shared] = [join(folder, 'rootfs'), join(folder, 'shared')];
  for (const path of [rootfs, shared]) mkdirSync(path);
  try {
    const image = await images.resolve(DEBIAN, { pull: 'never' });
    await using withGauge = await addGauge(images, image.digest, signal);
    await (await images.open(withGauge.digest)).extract('/', rootfs);
    const given = { image: withGauge.digest, config: image.config, rootfs, shared, folder, memory: 2 ** 28 };
    await using level = await levelsOf(['qemu'])[0]!.prepare(given, signal);
    await using idling = await startIdling(level.start('known', ['/.tsvm-gauge', 'idle']), signal);
    const { code, stdout, stderr } = await run(level.exec('known', idling.pid, ['sh', '-c', GETPPID]), signal);
    expect([code, stderr]).toEqual([0, '']);
    const names = parseReached(stdout);
    const calls = names.filter((name) => name.startsWith('__x64_sys_'));
    expect(calls).toEqual(['__x64_sys_getppid', '__x64_sys_read', '__x64_sys_write']);
    expect(names.length).toBeLessThan(200);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
