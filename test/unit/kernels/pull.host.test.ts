// Proves that a kernel of a distribution is fetched as apt would, whoever asks; that whatever an archive,
// a disk or a kill does, one clear line says it and the next pull works.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { findPulled, listPulled } from '../../../kernels/index.js';
import { modulesFor } from '../../../kernels/modules/list.js';
import { type AptArchive, type PackageContents, startAptArchive } from '../../fixtures/apt-archive.js';
import { bzImageFile, moduleFile } from '../../fixtures/kernel-files.js';
import { bundleProgram } from '../sandbox/home/bundle.js';

const PROGRAM = `
import { pullKernel } from './kernels/index.js';
const [name, cache] = process.argv.slice(2);
pullKernel(name, { cache, onProgress: (phase) => process.stderr.write('at ' + phase + '\\n') }).then(
  (directory) => process.stdout.write(directory),
  (error) => {
    process.stderr.write(error.name + ': ' + error.message + '\\n');
    process.exitCode = 1;
  },
);`;

let folder: string;
let cache: string;
let archive: AptArchive;
let environment: NodeJS.ProcessEnv;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pull-'));
  chmodSync(folder, 0o755);
  archive = await startAptArchive();
  const bundled = bundleProgram(PROGRAM, join(folder, 'pull.cjs'));
  environment = { ...bundled, APT_CONFIG: archive.config };
});
afterAll(async () => {
  await archive[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  cache = mkdtempSync(join(folder, 'cache-'));
  archive.liar = undefined;
  archive.requests.length = 0;
});
afterEach(() => rmSync(cache, { recursive: true, force: true }));

interface KernelPackage {
  version?: string;
  release?: string;
  /** Where the modules are in the package: usr/lib since Debian 13. */
  lib?: string;
  files?: Record<string, Buffer | string>;
  kernelSize?: number;
}

/** A kernel's package and the one that depends on it, as Debian has them. */
function kernelPackages({
  version = '6.1.9-1',
  release = '6.1.0-9-cloud-amd64',
  lib = 'lib',
  files,
  kernelSize = 4096,
}: KernelPackage = {}): PackageContents[] {
  const control = {
    Version: version,
    Architecture: 'amd64',
    Maintainer: 'Test <test@archive.test>',
    Description: 'test',
  };
  const modules = modulesFor('virtio_mmio').map(({ name }) => [
    `${lib}/modules/${release}/kernel/${name}.ko`,
    moduleFile({ name, vermagic: `${release} SMP` }),
  ]);
  return [
    {
      control: { ...control, Package: `linux-image-${release}` },
      files: files ?? {
        [`boot/vmlinuz-${release}`]: bzImageFile(release, kernelSize),
        [`boot/config-${release}`]: `# ${version}\n`,
        ...Object.fromEntries(modules),
      },
    },
    {
      control: {
        ...control,
        Package: 'linux-image-cloud-amd64',
        Depends: `linux-image-${release} (= ${version})`,
      },
    },
  ];
}

function start(
  words: string[] = [],
  options: { env?: NodeJS.ProcessEnv; uid?: number; detached?: boolean } = {},
): ChildProcess {
  const { env = {}, uid, detached = false } = options;
  const [program = '', ...rest] = [...words, process.execPath, join(folder, 'pull.cjs'), 'debian', cache];
  return spawn(program, rest, {
    env: { ...environment, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached,
    ...(uid !== undefined && { uid, gid: uid }),
  });
}

interface Ended {
  code: number | null;
  directory: string;
  /** What was said, without progress. */
  said: string;
}

async function pull(...args: Parameters<typeof start>): Promise<Ended> {
  const child = start(...args);
  const [directory, said, [code]] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')]);
  return { code, directory, said: said.replace(/^at .*\n/gm, '') };
}

const packagesFetched = () => archive.requests.filter((path) => path.endsWith('.deb')).length;

describe('a pull', () => {
  test.each([
    ['root', 0],
    ['an ordinary user', 65534],
  ])('as %s fetches the newest version, once', async (_, uid) => {
    archive.publish(kernelPackages());
    execFileSync('chown', [String(uid), cache]);
    const { code, directory, said } = await pull([], { uid });
    expect({ code, said }).toEqual({ code: 0, said: '' });
    expect(findPulled('debian', cache)).toMatchObject({ version: '6.1.9-1', directory, current: true });
    expect(readFileSync(join(directory, 'config'), 'utf8')).toBe('# 6.1.9-1\n');
    expect(readFileSync(join(directory, 'kernel')).equals(bzImageFile('6.1.0-9-cloud-amd64'))).toBe(true);
    expect(readFileSync(join(directory, 'modules.cpio'), 'latin1')).toContain('virtio_mmio.ko');
    expect(statSync(directory).uid).toBe(uid);
    expect(await pull([], { uid })).toEqual({ code: 0, directory, said: '' });
    expect(packagesFetched()).toBe(1);
    expect(readdirSync(cache)).toEqual([basename(directory)]);
  });

  test('fetches an update beside the version before it, and a run boots the update', async () => {
    archive.publish(kernelPackages());
    await pull();
    archive.publish(kernelPackages({ version: '6.1.10-1', release: '6.1.0-10-cloud-amd64' }));
    const { directory } = await pull();
    expect(listPulled(cache).map(({ version }) => version)).toEqual(['6.1.10-1', '6.1.9-1']);
    expect(findPulled('debian', cache)?.directory).toBe(directory);
  });

  test('finds modules in usr/lib, where Debian 13 has them', async () => {
    archive.publish(kernelPackages({ lib: 'usr/lib' }));
    expect(await pull()).toMatchObject({ code: 0, said: '' });
  });

  test('of two at once, both have the kernel', async () => {
    archive.publish(kernelPackages());
    const [one, other] = await Promise.all([pull(), pull()]);
    expect(one).toEqual({ code: 0, said: '', directory: other.directory });
    expect(other.code).toBe(0);
    expect(readdirSync(cache)).toHaveLength(1);
  });
});

/** Expects one line, and that nothing is left. */
async function expectRefused(ended: Promise<Ended>, line: RegExp): Promise<void> {
  const { code, directory, said } = await ended;
  expect(said).toMatch(new RegExp(`^KernelError: kernel 'debian': [^\\n]*(?:${line.source})[^\\n]*\\n$`));
  expect({ code, directory, left: readdirSync(cache) }).toEqual({ code: 1, directory: '', left: [] });
}

describe('refused in one line, with nothing left', () => {
  beforeEach(() => archive.publish(kernelPackages()));
  const answer =
    (ending: string, change: (file: Buffer) => Buffer | undefined): AptArchive['liar'] =>
    (path, file, response) => {
      if (!path.endsWith(ending) || file === undefined) return false;
      const changed = change(file);
      response.writeHead(changed === undefined ? 404 : 200, { 'content-length': changed?.length ?? 0 }).end(changed);
      return true;
    };
  /** The same length, another byte. */
  const altered = (file: Buffer) => {
    const copy = Buffer.from(file);
    copy.writeUInt8(copy.readUInt8(copy.length >> 1) ^ 1, copy.length >> 1);
    return copy;
  };

  test('a package whose bytes are not those that were signed', async () => {
    archive.liar = answer('.deb', altered);
    await expectRefused(pull(), /Hash Sum mismatch/);
  });

  test('a package that is shorter or longer than was signed', async () => {
    archive.liar = answer('.deb', (file) => file.subarray(0, file.length >> 1));
    await expectRefused(pull(), /unexpected size/);
    archive.liar = answer('.deb', (file) => Buffer.concat([file, file]));
    await expectRefused(pull(), /unexpected size/);
  });

  test('a package that is not there', async () => {
    archive.liar = answer('.deb', () => undefined);
    await expectRefused(pull(), /404/);
  });

  test('an index that is not what was signed', async () => {
    archive.liar = answer('/Packages', altered);
    await expectRefused(pull(), /Hash Sum mismatch/);
  });

  test('a Release file that was changed', async () => {
    archive.liar = answer('/InRelease', (file) => Buffer.from(file.toString().replace('Origin: Test', 'Origin: Tess')));
    await expectRefused(pull(), /is not signed|invalid/);
  });

  test('a Release file that no key of the host has signed', async () => {
    archive.publish(kernelPackages(), 'foreign');
    await expectRefused(pull(), /is not signed/);
  });

  test('a Release file without a signature, also where the host allows such archives', async () => {
    archive.liar = (path, _, response) => {
      if (!/InRelease$|Release\.gpg$/.test(path)) return false;
      response.writeHead(404).end();
      return true;
    };
    await expectRefused(pull(), /is not signed/);
    const permissive = join(folder, 'permissive.conf');
    const more =
      'Acquire::AllowInsecureRepositories "true"; APT::Get::AllowUnauthenticated "true"; Acquire::AllowDowngradeToInsecureRepositories "true";';
    execFileSync('sh', ['-c', `cat "$1" > "$2"; echo '${more}' >> "$2"`, 'sh', archive.config, permissive]);
    await expectRefused(pull([], { env: { APT_CONFIG: permissive } }), /is not signed/);
  });

  test('an archive that hangs up', async () => {
    archive.liar = (_, __, response) => {
      response.destroy();
      return true;
    };
    await expectRefused(pull(), /InRelease/);
  });

  test('an archive that has no kernel', async () => {
    archive.publish([]);
    await expectRefused(pull(), /have no package linux-image-cloud-amd64 of Debian/);
  });

  test('a package without a kernel, without modules, and with the modules of another release', async () => {
    const release = '6.1.0-9-cloud-amd64';
    archive.publish(kernelPackages({ files: {} }));
    await expectRefused(pull(), /no such folder/);
    archive.publish(kernelPackages({ files: { [`lib/modules/${release}/erofs.ko`]: moduleFile({ name: 'erofs' }) } }));
    await expectRefused(pull(), /no such file/);
    archive.publish(
      kernelPackages({
        files: {
          ...kernelPackages()[0]!.files,
          [`boot/vmlinuz-${release}`]: bzImageFile('6.1.0-8-cloud-amd64'),
        },
      }),
    );
    await expectRefused(pull(), /not for the kernel's 6\.1\.0-8-cloud-amd64/);
  });

  test('a host without apt', async () => {
    await expectRefused(pull([], { env: { PATH: '/nonexistent' } }), /this host has no apt-get/);
  });
});

describe('a disk that is full', () => {
  // Random bytes are as many on the disk as in the package.
  const SIZES = { kernelSize: 4 * 2 ** 20 };
  test.each([
    ['for the lists', 'size=4k,nr_inodes=12'],
    ['for what the package contains', 'size=1m'],
    ['for the result', 'size=5m'],
  ])('%s: one line, and nothing is left', async (_, options) => {
    archive.publish(kernelPackages(SIZES));
    const script = `mount -t tmpfs -o ${options} none "$0"; "$@"; code=$?; find "$0" -mindepth 1 >&2; exit $code`;
    const words = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, cache];
    await expectRefused(pull(words), /[Nn]o space left|free space/);
  });

  test('a cache that is read-only or no folder: one line', async () => {
    archive.publish(kernelPackages());
    const words = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c'];
    await expectRefused(pull([...words, 'mount -t tmpfs -o ro none "$0"; exec "$@"', cache]), /read-only|EROFS/);
  });
});

describe('a pull that is killed', () => {
  /** Resolves when what a killed pull had started has ended. */
  async function groupEnds({ pid = 0 }: ChildProcess): Promise<void> {
    for (;;) {
      try {
        process.kill(-pid, 0);
      } catch {
        return;
      }
      await sleep(20);
    }
  }

  /** Kills a pull once it has said something. Returns when apt has ended too. */
  async function killAt(word: string): Promise<void> {
    const child = start([], { detached: true });
    let said = '';
    for await (const chunk of child.stderr!.iterator({ destroyOnReturn: false })) {
      said += chunk;
      if (said.includes(word)) break;
    }
    child.kill('SIGKILL');
    await groupEnds(child);
  }

  test.each(['lists', 'download', 'unpack'])(
    'at %s leaves nothing that the next one does not remove',
    async (phase) => {
      archive.publish(kernelPackages({ kernelSize: 8 * 2 ** 20 }));
      await killAt(`at ${phase}`);
      expect(listPulled(cache)).toEqual([]);
      expect(await pull()).toMatchObject({ code: 0, said: '' });
      expect(readdirSync(cache)).toHaveLength(1);
    },
  );

  test('while the archive is silent, which apt still waits for, is not in the way of the next one', async () => {
    archive.publish(kernelPackages());
    let asked!: () => void;
    const silent = new Promise<void>((resolve) => {
      asked = resolve;
    });
    archive.liar = (path) => {
      if (!path.endsWith('.deb')) return false;
      asked();
      return true;
    };
    const child = start([], { detached: true });
    await silent;
    child.kill('SIGKILL');
    archive.liar = undefined;
    expect(await pull()).toMatchObject({ code: 0, said: '' });
    expect(listPulled(cache)).toHaveLength(1);
    archive.hangUp();
    await groupEnds(child);
  });
});
