// Makes a small image for the agent: programs of this machine, as an EROFS file on a loop device.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** The command by `sudo -n`, unless this process is root. */
export function asRoot(program: string, ...args: string[]): [string, string[]] {
  return process.getuid?.() === 0 ? [program, args] : ['sudo', ['-n', program, ...args]];
}

function runAsRoot(program: string, ...args: string[]): string {
  const [file, argv] = asRoot(program, ...args);
  return execFileSync(file, argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}

const PROGRAMS = [
  ...['sh', 'cat', 'echo', 'id', 'ls', 'stat', 'sleep', 'env', 'head', 'tail', 'wc', 'sha256sum', 'stty', 'kill'],
  ...[
    'mount',
    'mkdir',
    'rmdir',
    'touch',
    'readlink',
    'uname',
    'hostname',
    'dd',
    'true',
    'false',
    'tr',
    'grep',
    'chmod',
  ],
  ...['ln', 'rm', 'mv', 'mkfifo', 'mknod', 'chown', 'find', 'sort', 'sed', 'md5sum'],
];

/** Paths of the shared libraries of a program. */
export function libraries(program: string): string[] {
  const listing = execFileSync('ldd', [program], { encoding: 'utf8' });
  return [...listing.matchAll(/(\/\S+) \(0x/g)].flatMap(([, path]) => path ?? []);
}

const PASSWD = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sam:x:1000:1000:Sam:/home/sam:/bin/sh
`;

const GROUP = `root:x:0:
daemon:x:1:
staff:x:50:sam
video:x:44:root,sam
sam:x:1000:
`;

/** Makes a root file system in `directory`. */
export function populate(directory: string): void {
  for (const name of ['bin', 'etc', 'home/sam', 'root', 'tmp', 'run', 'var/empty', 'opt']) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  for (const name of PROGRAMS) {
    const program = execFileSync('sh', ['-c', `command -v /usr/bin/${name} || command -v /bin/${name}`], {
      encoding: 'utf8',
    }).trim();
    for (const file of libraries(program)) {
      mkdirSync(join(directory, dirname(file)), { recursive: true });
      cpSync(realpathSync(file), join(directory, file));
    }
    cpSync(realpathSync(program), join(directory, 'bin', name));
  }
  writeFileSync(join(directory, 'etc/passwd'), PASSWD);
  writeFileSync(join(directory, 'etc/group'), GROUP);
  writeFileSync(join(directory, 'etc/image-file'), 'from the image\n');
  writeFileSync(join(directory, 'opt/not-executable'), '#!/bin/sh\n', { mode: 0o644 });
  writeFileSync(join(directory, 'bin/not-executable'), '#!/bin/sh\n', { mode: 0o644 });
  writeFileSync(join(directory, 'bin/bad-interpreter'), '#!/opt/not-executable\n', { mode: 0o755 });
  writeFileSync(join(directory, 'bin/no-format'), 'neither ELF nor script\n', { mode: 0o755 });
  // Links as in systemd images, and as a hostile image may have them.
  symlinkSync('../run/resolve/stub-resolv.conf', join(directory, 'etc/resolv.conf'));
  symlinkSync('/../../../../../etc/elsewhere', join(directory, 'etc/hosts'));
  symlinkSync('loop', join(directory, 'opt/loop'));
  symlinkSync('../../../../opt', join(directory, 'opt/outside'));
}

export interface LoopDevice {
  /** Path of the block device. */
  device: string;
  /** Path of the file behind it. */
  file: string;
  /** Detaches the device and removes the file. */
  [Symbol.dispose](): void;
}

function attach(directory: string, file: string, ...options: string[]): LoopDevice {
  const device = runAsRoot('losetup', '--find', '--show', ...options, file);
  return {
    device,
    file,
    [Symbol.dispose]() {
      runAsRoot('losetup', '--detach', device);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/**
 * Makes the image, on a read-only device.
 * @param files more of its files: contents by path
 */
export function makeContainerImage(files: Record<string, string> = {}): LoopDevice {
  const directory = mkdtempSync(join(tmpdir(), 'agent-image-'));
  const root = join(directory, 'root');
  mkdirSync(root);
  populate(root);
  for (const [path, contents] of Object.entries(files)) writeFileSync(join(root, path), contents);
  const file = join(directory, 'image.erofs');
  execFileSync('mkfs.erofs', ['--all-root', '--quiet', file, root], { stdio: ['ignore', 'ignore', 'inherit'] });
  return attach(directory, file, '--read-only');
}

/** An empty ext4 disk of 16 MiB. */
export function makeScratchDisk(): LoopDevice {
  const directory = mkdtempSync(join(tmpdir(), 'agent-scratch-'));
  const file = join(directory, 'scratch.ext4');
  writeFileSync(file, '');
  truncateSync(file, 16 * 1024 * 1024);
  execFileSync('/sbin/mkfs.ext4', ['-q', '-F', file], { stdio: ['ignore', 'ignore', 'inherit'] });
  return attach(directory, file);
}
