// The programs that build in benchmarks, each with a store of its own.
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { CLI } from './paths.js';
import { time } from './stopwatch.js';

/** A program that builds, with a store of its own. */
export interface Builder extends Disposable {
  name: string;
  /** Adds the image of an OCI archive, by a name. */
  load(archive: string, name: string): void;
  /** Builds the image of a folder. Returns milliseconds. */
  build(context: string, ...options: string[]): Promise<number>;
  /** Removes all images and all that is cached. */
  empty(): void;
}

/** Returns the milliseconds that a command takes. @throws Error if it fails */
export async function timed(command: string, args: readonly string[], env = process.env): Promise<number> {
  const { exit, code, text } = await time(command, args, { env });
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: exit code ${code}\n${text}`);
  return exit;
}

/** @param machine the kind of machine of a RUN, as `--accel` names it */
export function tsvm(work: string, machine?: string): Builder {
  // As a user's: machines of KVM come from a template.
  const own = { TSVM_HOME: join(work, 'tsvm'), TSVM_TEMPLATES_SIZE: '', ...(machine && { TSVM_ACCEL: machine }) };
  const env = { ...process.env, ...own };
  const run = (...words: string[]) =>
    execFileSync(CLI, words, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
  return {
    name: machine === undefined ? 'tsvm build' : `tsvm build --accel ${machine}`,
    load(archive, name) {
      run('load', '-q', '-i', archive);
      run('tag', run('images', '-q', '--no-trunc').split('\n')[0]!, name);
    },
    build: (context, ...options) => timed(CLI, ['build', '-q', '-t', 'bench', ...options, context], env),
    empty() {
      run('prune', '-af');
      run('builder', 'prune', '-f');
    },
    [Symbol.dispose]() {},
  };
}

export function buildah(work: string): Builder {
  const root = join(work, 'buildah');
  const store = ['--root', root, '--runroot', join(work, 'run'), '--storage-driver', 'overlay'];
  const run = (...words: string[]) => execFileSync('buildah', [...store, ...words], { encoding: 'utf8' }).trim();
  return {
    name: 'buildah bud --layers (overlay)',
    load(archive, name) {
      run('tag', run('pull', '-q', `oci-archive:${archive}`), name);
    },
    build: (context, ...options) =>
      timed('buildah', [...store, 'bud', '--layers', '-q', '-t', 'bench', ...options, context]),
    empty() {
      run('rmi', '-af');
    },
    [Symbol.dispose]() {
      // It leaves a mount behind.
      spawnSync('umount', [join(root, 'overlay')]);
    },
  };
}
