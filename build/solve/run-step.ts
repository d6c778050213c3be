// RUN: a command in a sandbox of the stage's files. Its changes are a layer.
import { PassThrough } from 'node:stream';
import { hasCode, messageOf } from '../../errors/index.js';
import type { BuildSteps, Json } from '../../images/build.js';
import { type Home, Sandbox, type SandboxOptions } from '../../sandbox/index.js';
import { BuildError } from '../build-error.js';
import type { Step } from '../progress.js';
import { agentVariable, Caches, enterMounts, memoryMounts, type RunMounts, secretVariables } from './run-mounts.js';

/** How machines of a build are. Fields are those of `tsvm run`. */
export type MachineOptions = Pick<
  SandboxOptions,
  'accel' | 'cpus' | 'memory' | 'network' | 'kernel' | 'isolation' | 'shmSize' | 'ulimits' | 'cgroupParent' | 'jail'
>;

export interface RunStep {
  argv: readonly string[];
  env: Readonly<Record<string, string>>;
  cwd: string;
  user: string;
  network: NonNullable<SandboxOptions['network']>;
  mounts: RunMounts;
}

export interface RunWork {
  home: Home;
  steps: BuildSteps;
  /** The ID of an image with the stage's files. */
  image: string;
  run: RunStep;
  machine: MachineOptions;
  step: Step;
  signal: AbortSignal;
}

/**
 * Runs a command, and streams the layer that it made.
 * @throws BuildError `failed`; SandboxError; ImageError; MachineError; the reason of `signal`
 */
export async function* runStep({ home, steps, image, run, machine, step, signal }: RunWork): AsyncGenerator<Buffer> {
  const { argv, cwd, user, network, mounts } = run;
  using caches = await Caches.open(mounts, steps, signal);
  const own = { mounts: caches.mounts, tmpfs: memoryMounts(mounts) };
  await using sandbox = await Sandbox.create(image, { ...machine, ...own, home, network, signal });
  await enterMounts(sandbox, mounts, signal);
  const env = { ...agentVariable(mounts), ...run.env, ...secretVariables(mounts) };
  // What it leaves in the background must not change files while they are read.
  const process = await sandbox.exec(argv, { env, cwd, user, signal, killRest: true }).catch((error: unknown) => {
    if (hasCode(error, 'not-found', 'cannot-invoke'))
      throw failed(argv, hasCode(error, 'not-found') ? 127 : 126, error);
    throw error;
  });
  process.stdout.on('data', (bytes: Buffer) => step.output('stdout', bytes));
  process.stderr.on('data', (bytes: Buffer) => step.output('stderr', bytes));
  const exitCode = await process.exit;
  if (exitCode !== 0) throw failed(argv, exitCode);
  const layer = new PassThrough();
  const written = sandbox.files.layer(layer).then(
    () => layer.end(),
    (error) => layer.destroy(error),
  );
  yield* layer as AsyncIterable<Buffer>;
  await written;
}

function failed(argv: readonly string[], exitCode: number, cause?: unknown): BuildError {
  const why = cause === undefined ? '' : `: ${messageOf(cause)}`;
  const message = `process "${argv.join(' ')}" did not complete successfully: exit code: ${exitCode}${why}`;
  return new BuildError('failed', message, { exitCode, cause });
}

/** The image config that a machine of a build needs. */
export const MACHINE_CONFIG: Json = { architecture: 'amd64', os: 'linux', config: {}, history: [] };
