// The image of `bench -- without-kvm`: a Debian root with the programs that do the work. Its files
// are on the host once, and imported into the store.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tar } from '../fixtures/tar-writer.js';
import { BENCH_FOLDER, CLI, GUEST_WORK_SOURCE } from './paths.js';
import { ARCHIVE, ARCHIVED_FILES, DRIVER, FILES, WORK } from './without-kvm-rows.js';

const PACKAGES = ['python3-minimal', 'fio', 'iperf3'];
/** Bytes of a file of the archive: that of a small source file. */
const FILE_SIZE = 1000;
const FILES_OF_FOLDER = 100;

/** Disposal removes the image. */
export interface WorkImage extends Disposable {
  name: string;
  /** The folder with the image's files. */
  rootfs: string;
}

function archive(): Buffer {
  const folders = Array.from({ length: ARCHIVED_FILES / FILES_OF_FOLDER }, (_, folder) => [
    { path: `${folder}/`, type: '5', mode: 0o755 },
    ...Array.from({ length: FILES_OF_FOLDER }, (_, file) => ({
      path: `${folder}/${file}`,
      mode: 0o644,
      data: Buffer.alloc(FILE_SIZE, `${folder} ${file}\n`),
    })),
  ]);
  return tar(folders.flat());
}

/** Makes the root once: that takes a minute. */
function makeRoot(): string {
  const rootfs = join(BENCH_FOLDER, 'without-kvm');
  if (!existsSync(rootfs)) {
    const making = `${rootfs}.new`;
    rmSync(making, { recursive: true, force: true });
    mkdirSync(BENCH_FOLDER, { recursive: true });
    const options = ['--quiet', '--variant=minbase', '--dpkgopt=force-unsafe-io', `--include=${PACKAGES.join(',')}`];
    execFileSync('mmdebstrap', [...options, 'bookworm', making], { stdio: ['ignore', 'ignore', 'inherit'] });
    renameSync(making, rootfs);
  }
  mkdirSync(join(rootfs, FILES), { recursive: true });
  emptyWork(rootfs);
  writeFileSync(join(rootfs, ARCHIVE), archive());
  const options = ['-static', '-O2', '-s', '-Wall', '-Werror', '-D_GNU_SOURCE'];
  execFileSync('musl-gcc', [...options, '-o', join(rootfs, DRIVER), GUEST_WORK_SOURCE]);
  return rootfs;
}

/** Removes what a level without a disk of its own has written. */
export function emptyWork(rootfs: string): void {
  rmSync(join(rootfs, WORK), { recursive: true, force: true });
  mkdirSync(join(rootfs, WORK));
}

/** Needs root, mmdebstrap and musl-gcc. */
export async function makeWorkImage(): Promise<WorkImage> {
  const rootfs = makeRoot();
  const name = `tsvm-bench:without-kvm-${process.pid}`;
  const packer = spawn('tar', ['-C', rootfs, '--one-file-system', '-cf', '-', '.'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const reader = spawn(CLI, ['import', '-', name], { stdio: [packer.stdout, 'ignore', 'inherit'] });
  const [code] = await once(reader, 'close');
  if (code !== 0) throw new Error(`tsvm import: exit code ${code}`);
  return {
    name,
    rootfs,
    [Symbol.dispose]: () => execFileSync(CLI, ['rmi', '--force', name], { stdio: 'ignore' }),
  };
}
