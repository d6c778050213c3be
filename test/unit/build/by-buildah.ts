// What buildah makes of a Dockerfile, for tests that compare it with what tsvm build makes.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Json } from '../../../images/build.js';

/** buildah with images of its own. Disposing of it removes them. */
export class Buildah implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'tsvm-buildah-'));

  /** Runs a command of buildah. Returns what it prints. */
  async run(argv: readonly string[], input?: Buffer): Promise<string> {
    const store = ['--root', join(this.folder, 'root'), '--runroot', join(this.folder, 'run')];
    const running = promisify(execFile)('buildah', [...store, '--storage-driver', 'vfs', ...argv]);
    running.child.stdin?.end(input);
    return (await running).stdout.trim();
  }

  /** Copies an image, as skopeo names it, and gives it a name. */
  async take(image: string, name: string): Promise<void> {
    const store = `vfs@${join(this.folder, 'root')}+${join(this.folder, 'run')}`;
    await promisify(execFile)('skopeo', ['copy', '-q', image, `containers-storage:[${store}]localhost/${name}`]);
  }

  /**
   * Builds an image. Returns an archive of it: an OCI layout would lose the fields that only Docker's
   * format has.
   *
   * @param args options, and the context at the end
   */
  async build(args: readonly string[], input?: Buffer): Promise<string> {
    const archive = `docker-archive:${join(mkdtempSync(join(this.folder, 'made-')), 'made.tar')}`;
    const options = ['-q', '--format', 'docker', '--isolation', 'chroot', '-t', archive];
    await this.run(['bud', ...options, ...args], input);
    return archive;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Fields of Docker's format that say nothing of an image. */
const UNSAID = /^(Image|Hostname|Domainname|Attach.*|Tty|OpenStdin|StdinOnce|ArgsEscaped)$/;

/** buildah writes empty fields, a label of its own, and the root as working directory. */
export function comparable({ Labels, Env, WorkingDir, ...rest }: Json): Json {
  const labels = Object.entries(Labels ?? {}).filter(([name]) => name !== 'io.buildah.version');
  const fields = {
    ...rest,
    Labels: Object.fromEntries(labels),
    Env: Object.values(Env ?? {}),
    WorkingDir: WorkingDir === '/' ? '' : WorkingDir,
  };
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([name, value]) => !UNSAID.test(name) && value && (typeof value !== 'object' || Object.keys(value).length > 0),
    ),
  );
}
