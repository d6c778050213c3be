// Shared folders. Our virtio-fs is compared with:
// - Debian's virtiofsd with its default options, on the same kernel
// - the same with extended attributes and access control lists, which ours has
// - QEMU's 9p, on the lab's kernel, as the guest's has no 9p. Both kernels are of the same source.
// The folder, the programs and the CPU emulator are the same.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { kernelPath } from '../../kernels/index.js';
import { buildInitramfs, type GuestRun, programFiles, runOurs, runQemu } from './emulated-machine.js';
import { type Benchmark, type Measurement, ratio, Samples } from './measurement.js';
import { BENCH_FOLDER, GUEST_VOLUMES_SCRIPT } from './paths.js';

const VIRTIOFSD = '/usr/lib/qemu/virtiofsd';
const INITRAMFS = join(BENCH_FOLDER, 'volumes.cpio');
const PROGRAMS = ['dash', 'mount', 'mkdir', 'date', 'git', 'tar', 'rm', 'fio'];
/** The shared folder is in memory, so that no figure includes the time of a disk. */
const MEMORY = '/dev/shm';
const FILES = 10_000;
const FILES_IN_A_FOLDER = 100;
const OURS = 'tsvm';

/** The guest's name of each timed task, and its name in the results. */
const TIMES: [said: string, name: string][] = [
  ['git-status', `git status in ${FILES} files`],
  ['tar-x', `tar x of ${FILES} small files`],
  ['rm-r', `rm -r of ${FILES} small files`],
];
const TRANSFERS: [mode: string, name: string, unit: Measurement['unit']][] = [
  ['read', 'read 1M', 'MiB/s'],
  ['write', 'write 1M', 'MiB/s'],
  ['randread', 'random read 4k', '1/s'],
  ['randwrite', 'random write 4k', '1/s'],
];

/** Makes a folder of small files, a git repository with them, and a large file. */
function fillFolder(folder: string): void {
  const repository = join(folder, 'repository');
  for (let file = 0; file < FILES; file++) {
    const place = join(repository, `folder-${Math.floor(file / FILES_IN_A_FOLDER)}`);
    if (file % FILES_IN_A_FOLDER === 0) mkdirSync(place, { recursive: true });
    writeFileSync(join(place, `file-${file}.txt`), `${file}\n`.repeat(100));
  }
  execFileSync('tar', ['cf', join(folder, 'files.tar'), '-C', repository, '.']);
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', repository, '-c', 'user.name=bench', '-c', 'user.email=bench@localhost', ...args]);
  git('init', '-q');
  git('add', '.');
  git('commit', '-q', '-m', 'files');
  writeFileSync(join(folder, 'big'), Buffer.alloc(64 * 2 ** 20, 'not a hole'));
}

function prepare(): void {
  const files = new Map(PROGRAMS.flatMap((name) => [...programFiles(`/usr/bin/${name}`)]));
  buildInitramfs(INITRAMFS, files.set('/volumes', readFileSync(GUEST_VOLUMES_SCRIPT)));
}

function guest(...words: string[]): GuestRun {
  return { initramfs: INITRAMFS, command: ['/volumes', ...words] };
}

function runWithOurs(folder: string, scratch: string): Promise<string> {
  const shares = [{ path: folder, readOnly: false }];
  return runOurs(guest('virtiofs', 'tsvm', 'rw', '0'), join(scratch, 'vsock'), [], shares);
}

async function runWithVirtiofsd(folder: string, scratch: string, ...options: string[]): Promise<string> {
  const socket = join(scratch, 'virtiofsd');
  const words = [`--socket-path=${socket}`, '-o', [`source=${folder}`, ...options].join()];
  const daemon = spawn(VIRTIOFSD, words, { stdio: 'ignore' });
  try {
    while (!existsSync(socket) && daemon.exitCode === null) await sleep(10);
    const device = ['-device', 'vhost-user-fs-device,chardev=fs,tag=peer,queue-size=1024'];
    return await runQemu(guest('virtiofs', 'peer', 'rw', '.'), [
      ...['-chardev', `socket,id=fs,path=${socket}`],
      ...device,
    ]);
  } finally {
    daemon.kill();
  }
}

function runWith9p(folder: string): Promise<string> {
  const kernel = kernelPath('lab');
  if (kernel === undefined) throw new Error("the kernel 'lab' is not built, run: tsvm kernel build lab");
  const options = 'trans=virtio;version=9p2000.L;msize=512000';
  return runQemu({ ...guest('9p', 'peer', options, '.'), kernel }, [
    ...['-fsdev', `local,id=fs,path=${folder},security_model=passthrough`],
    ...['-device', 'virtio-9p-device,fsdev=fs,mount_tag=peer'],
  ]);
}

function addSamples(samples: Samples, who: string, output: string): void {
  const lines = output.split('\n').map((line) => line.trim());
  for (const [said, name] of TIMES) {
    const line = lines.find((text) => text.startsWith(`took ${said} `));
    if (line === undefined) throw new Error(`${who}: the guest said nothing of ${said}\n${output}`);
    samples.add(`${who}: ${name}`, 'ms', Number(line.split(' ')[2]) / 1e6);
  }
  for (const [mode, name, unit] of TRANSFERS) {
    const said = lines
      .find((line) => line.startsWith(`fio ${mode} 0 `))
      ?.split(' ')
      .slice(3)
      .map(Number);
    if (said === undefined) throw new Error(`${who}: fio said nothing of ${mode}\n${output}`);
    const [kibibytes = NaN, requests = NaN] = mode.endsWith('read') ? said : said.slice(2);
    samples.add(`${who}: ${name}`, unit, unit === '1/s' ? requests : kibibytes / 1024);
  }
}

export const volumes: Benchmark = {
  name: 'volumes',
  title: "Shared folders of an emulated machine: our virtio-fs beside virtiofsd and QEMU's 9p",
  needsKvm: false,
  async measure({ runs }) {
    prepare();
    const ways: [name: string, run: (folder: string, scratch: string) => Promise<string>][] = [
      [OURS, runWithOurs],
      ['virtiofsd', runWithVirtiofsd],
      ['virtiofsd, xattr', (place, scratch) => runWithVirtiofsd(place, scratch, 'xattr', 'posix_acl')],
      ['9p', runWith9p],
    ];
    const who = ways.map(([name, measure]) => ({ name, measure, samples: new Samples() }));
    const folder = mkdtempSync(join(MEMORY, 'tsvm-bench-folder-'));
    try {
      fillFolder(folder);
      for (let run = 0; run < runs; run++) {
        for (const { name, measure, samples } of who) {
          const scratch = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
          try {
            addSamples(samples, name, await measure(folder, scratch));
          } finally {
            rmSync(scratch, { recursive: true });
          }
        }
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
    const [ours = [], ...peers] = who.map(({ samples }) => samples.measurements());
    const ratios = who.slice(1).flatMap(({ name, samples }) =>
      samples.measurements().map((theirs, index) => {
        const what = theirs.name.slice(name.length + 2);
        return ratio(`${OURS} / ${name}: ${what}`, ours[index], theirs);
      }),
    );
    return [...ours, ...peers.flat(), ...ratios];
  },
};
