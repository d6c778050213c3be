// Limits the time, memory and processes of an untrusted program, and reports how it ended.
import { Sandbox, SandboxError } from 'tsvm';

await using sandbox = await Sandbox.create('debian:12', {
  memory: 128 * 2 ** 20,
  pidsLimit: 50,
  network: { mode: 'none' },
});

try {
  await sandbox.run(['sleep', '1000'], { timeout: 500 });
} catch (error) {
  console.log(error instanceof SandboxError && error.code);
}

const hog = await sandbox.run(['tail', '/dev/zero']);
console.log('hog', hog.code);

try {
  await sandbox.run(['sleep', '1000'], { signal: AbortSignal.timeout(500) });
} catch (error) {
  console.log(error instanceof Error && error.name);
}

const { memoryLimit, pids } = await sandbox.usage();
console.log(memoryLimit <= 128 * 2 ** 20, pids > 0);

try {
  await sandbox.exec(['nosuchcommand']);
} catch (error) {
  console.log(error instanceof SandboxError && error.code);
}
