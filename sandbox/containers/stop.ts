// Stops a container from a process other than its supervisor.
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../../errors/index.js';
import { REQUEST_TIMEOUT } from '../agent/responsiveness.js';
import { KILL_TIMEOUT } from '../cgroup/machine-cgroup.js';
import type { ContainerFolder } from '../home/container-folder.js';
import { openRequest } from '../supervision/control-client.js';

const SIGKILL = 9;
/**
 * Milliseconds for a supervisor to end and release its lock: it gives its guest the time of a
 * request, and the killed machine that to end. A supervisor that is killed may be a program of the
 * SDK's caller.
 */
const LEAVE_TIMEOUT = REQUEST_TIMEOUT + KILL_TIMEOUT + 20_000;

/**
 * Sends `signal`, and SIGKILL after `timeout` milliseconds. Resolves when the container has no
 * supervisor any more. Does nothing if the container does not run. With `keep`, a container with
 * `--rm` is not removed.
 */
export async function stopContainer(
  folder: ContainerFolder,
  { timeout, signal, keep }: { timeout: number; signal: number; keep?: boolean | undefined },
): Promise<void> {
  try {
    using client = await openRequest(folder, { type: 'stop', signal, timeout: timeout / 1000, keep });
    await client.next();
  } catch (error) {
    if (!hasCode(error, 'not-running')) throw error;
  }
  await supervisorLeft(folder);
}

/**
 * Kills the container, and its supervisor too if that does not answer. This process, which may be the
 * supervisor while it reads files, is left alone.
 * @param patience milliseconds for a supervisor to end
 */
export async function killContainer(folder: ContainerFolder, patience = LEAVE_TIMEOUT): Promise<void> {
  const stopped = stopContainer(folder, { timeout: 0, signal: SIGKILL }).then(
    () => true,
    () => false,
  );
  if (await Promise.race([stopped, sleep(patience, false, { ref: false })])) return;
  // The machine process ends with its supervisor.
  const { supervisorPid } = folder.state();
  if (supervisorPid === undefined || supervisorPid === process.pid) return;
  try {
    process.kill(supervisorPid, SIGKILL);
  } catch {
    // The supervisor has ended meanwhile.
  }
  await supervisorLeft(folder);
}

async function supervisorLeft(folder: ContainerFolder): Promise<void> {
  const deadline = performance.now() + LEAVE_TIMEOUT;
  while (folder.isSupervised() && performance.now() < deadline) await sleep(5);
}
