// What disturbs a tenant in `bench -- tenants`. Each stands still or goes on.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Container } from '../../sandbox/containers/container.js';
import { hostileOptions, type Storm, VOLUME } from '../fixtures/tenants/storms.js';
import type { Tenant } from '../fixtures/tenants/tenant.js';

export interface Disturbance extends Disposable {
  name: string;
  /** The pid of the process that owns its machine. */
  owner?: number;
  standStill(): Promise<void>;
  goOn(): Promise<void>;
}

/** Milliseconds until a storm has taken all that it takes. Some need longer and go on regardless. */
const PATIENCE = 30_000;
const POLL = 100;

/** Starts a program of the host on one CPU. */
function spawnOn(cpu: number, ...command: string[]): ChildProcess {
  return spawn('taskset', ['-c', String(cpu), ...command], { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** A program of the host that computes without end: what the CPUs of this host cost each other. */
export function busyProgram(cpu: number): Disturbance {
  const program = spawnOn(cpu, 'sh', '-c', 'while :; do :; done');
  program.kill('SIGSTOP');
  return {
    name: 'a busy program of the host',
    standStill: async () => void program.kill('SIGSTOP'),
    goOn: async () => void program.kill('SIGCONT'),
    [Symbol.dispose]: () => program.kill('SIGKILL'),
  };
}

function hasSaid({ logPath }: Container): boolean {
  return existsSync(logPath) && statSync(logPath).size > 0;
}

/** Starts a storm in a container. */
export async function startStorm(
  tenant: Tenant,
  { name, words }: Storm,
  { image, programs, port }: { image: string; programs: readonly string[]; port: number },
): Promise<Disturbance & { container: Container }> {
  const volume = tenant.tsvm('volume', 'create', '--size', String(VOLUME.size), '--inodes', String(VOLUME.inodes));
  const options = [...hostileOptions(port, volume), ...programs];
  const container = tenant.container(tenant.tsvm('run', '-d', ...options, image, '/storm', ...words(port)));
  const until = performance.now() + PATIENCE;
  while (!hasSaid(container) && performance.now() < until) await sleep(POLL);
  await container.pause();
  return {
    name,
    container,
    owner: tenant.ownerOf(container),
    standStill: () => container.pause(),
    goOn: () => container.unpause(),
    [Symbol.dispose]() {
      tenant.tsvm('rm', '-f', container.id);
      tenant.tsvm('volume', 'rm', volume);
    },
  };
}
