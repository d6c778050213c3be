// Images of Dockerfiles are those that buildah makes: the same files, with modes, owners, links and
// contents, and the same config. What is meant to differ is listed with its reason.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { ArchiveContext } from '../../../build/index.js';
import { buildStore, type Json } from '../../../images/build.js';
import { Buildah, comparable } from './by-buildah.js';
import { type Made, Workshop } from './made.js';

let shop: Workshop;
let buildah: Buildah;
/** The folder of its images, for what else is written. */
let storage: string;

beforeAll(() => {
  shop = new Workshop();
  buildah = new Buildah();
  storage = buildah.folder;
  shop.write({
    a: 'A',
    b: 'B',
    'c.txt': 'C',
    'd/e': 'E',
    'd/f/g': 'G',
    'd/f/h.txt': 'H',
    'x y': 'S',
    passwd: 'root:x:0:0::/:\njoe:x:7:8::/:\n',
    group: 'root:x:0:\nstaff:x:9:\n',
    '.dockerignore': '*.tmp\nhidden\n!hidden/shown\n',
    'no.tmp': '',
    'hidden/shown': 'shown',
    'hidden/other': 'other',
  });
  chmodSync(join(shop.context, 'd/e'), 0o750);
  chmodSync(join(shop.context, 'd/f'), 0o700);
  linkSync(join(shop.context, 'd/e'), join(shop.context, 'd/i'));
  symlinkSync('e', join(shop.context, 'd/l'));
  symlinkSync('/a', join(shop.context, 'absolute'));
  // Made elsewhere: a folder that changes as tar reads it is an error.
  const pack = (name: string, ...words: string[]) => {
    execFileSync('tar', ['-f', join(shop.folder, name), '-C', shop.context, ...words]);
    renameSync(join(shop.folder, name), join(shop.context, name));
  };
  const owned = ['--owner=7', '--group=8'];
  pack('plain.tar', '-c', ...owned, 'a', 'd');
  pack('dots.tar', '-c', ...owned, './d/f', './d/l');
  pack('root.tgz', '-cz', '--mode=0750', ...owned, '--no-recursion', '.', './a');
  pack('x.tar.xz', '-cJ', 'd');
  pack('x.tar.zst', '--zstd', '-c', 'd');
  pack('x.tar.bz2', '-cj', 'd/f');
  execFileSync('gzip', ['-k', join(shop.context, 'c.txt')]);
  mkdirSync(join(shop.context, 'tree/usr/bin'), { recursive: true });
  symlinkSync('usr/bin', join(shop.context, 'tree/bin'));
});

afterAll(() => {
  shop[Symbol.dispose]();
  buildah[Symbol.dispose]();
});

const IGNORING = '*.tmp\nhidden\n!hidden/shown\n';

/** @param input an archive for stdin, in place of the folder */
async function byBuildah(dockerfile: string, args: readonly string[], input?: Buffer): Promise<Made> {
  const work = mkdtempSync(join(storage, 'build-'));
  writeFileSync(join(work, 'Dockerfile'), dockerfile);
  const context = input === undefined ? shop.context : '-';
  return shop.open(await buildah.build([...args, '-f', join(work, 'Dockerfile'), context], input));
}

const COPIES = [
  'COPY a /',
  'COPY a /x',
  'COPY a x/',
  'COPY a b /x/',
  'COPY ["x y", "/p q/"]',
  'COPY [ab] /x/',
  'COPY *.txt /x/',
  'COPY d /x',
  'COPY d /x/',
  'COPY d/ /x/y',
  'COPY d a /x/',
  'COPY d/l /x',
  'COPY absolute /x',
  'COPY d/f /x',
  'COPY d/f /x/',
  'COPY d/f /x/y/',
  'COPY d/f a /x/',
  'COPY d/f /x\nCOPY d/e /x/g',
  'COPY . /all/',
  'COPY hidden /x/',
  'COPY --chown=5:6 a /x/',
  'COPY --chown=5 a /x',
  'COPY --chown=5:6 d /x/y',
  'COPY passwd group /etc/\nCOPY --chown=joe a /x\nCOPY --chown=joe:staff a /y',
  'COPY --chmod=640 a /x/',
  'COPY a /x\nCOPY b /x',
  'COPY d /x\nCOPY d/f /x/f',
  'COPY ../a /x',
  'WORKDIR /w/v\nCOPY a x/',
  'WORKDIR w\nWORKDIR ../v\nCOPY a .',
  'ARG f=a\nENV g=$f\nCOPY ${g} /${f}-$g',
  'ADD a /x/',
  'ADD d /x',
  'ADD plain.tar /',
  'ADD plain.tar /x',
  'ADD plain.tar /x/y/',
  'ADD plain.tar a /x/',
  'ADD --chown=5:6 plain.tar /x/',
  'ADD dots.tar /x/',
  'ADD root.tgz /x/',
  'ADD x.tar.xz /x/',
  'ADD x.tar.bz2 /x/',
  'ADD x.tar.zst /x/',
  'ADD c.txt.gz /x/',
  'ADD *.tar /x/',
  'COPY plain.tar /x/',
  'COPY d /d\nADD plain.tar /',
  'COPY a /d/f/g/h\nADD plain.tar /',
  'COPY tree /\nADD a /bin/',
  'COPY --chmod=755 d /x',
  'COPY --chmod=600 --chown=1:2 d/f /x/',
  'COPY d/e d/i /x/',
  'COPY d/i /x/\nCOPY d/e /x/i',
  'COPY "a" \'b\' /x/',
  'COPY a /x/\nCOPY b /x/a',
  'COPY ./d/../a /x/',
  'COPY d/* /x/',
  'COPY */f /x/',
  'COPY [!ab] /x/',
  'COPY a\\\n  b\\\n  /x/',
  'ENV d=d f=f\nCOPY $d/${f} /$d$f/',
  'ARG to=/x/\nCOPY a ${to:-/y/}',
  'ARG to\nCOPY a ${to:-/y/}z',
  'WORKDIR /w\nCOPY a .\nWORKDIR v\nCOPY b ..',
  'WORKDIR /w\nCOPY a ./',
  'COPY passwd group /etc/\nUSER joe\nCOPY a /x/',
  'COPY passwd group /etc/\nUSER joe\nWORKDIR /w/v\nCOPY a .',
  'COPY a b c.txt /x/',
  'COPY --chown=0:9 d /x',
  'COPY --chown=7 d/f /x/f/',
  'COPY d /x\nCOPY a /x/f/g',
  'COPY d/e /x/\nADD plain.tar /x/',
  'COPY d/f/* /x/',
  'COPY d/?/g /x/',
  'COPY [a-c] *.txt /x/',
  'WORKDIR /w\nCOPY d d\nWORKDIR d/f\nCOPY a .',
  'ARG A=a B=b\nCOPY $A $B /$A$B/',
  'ENV n=f\nCOPY d/$n /x/${n}${n}',
  'ADD a b /x/\nCOPY d/e /x/a',
  'ADD plain.tar /x\nCOPY a /x/d/e',
  'ADD --chmod=700 a /x/',
  'COPY --chmod=444 a b /x/',
  'COPY --chown=5:6 passwd /etc/\nUSER 5\nCOPY a /x/',
  'COPY tree /\nCOPY a /bin/x/',
  'COPY . /x\nCOPY . /y',
];

describe('files', () => {
  test.each(COPIES)('%s', async (dockerfile) => {
    const text = `FROM scratch\n${dockerfile}\n`;
    const [ours, theirs] = await Promise.all([shop.build(text, { ignoring: IGNORING }), byBuildah(text, [])]);
    expect(await ours.files()).toEqual(await theirs.files());
  });
});

describe('a context from stdin', () => {
  test.each(['COPY . /', 'COPY d /x/', 'COPY a d/l absolute /x/', 'ADD plain.tar /x'])('%s', async (dockerfile) => {
    const text = `FROM scratch\n${dockerfile}\n`;
    const input = execFileSync('tar', ['-cz', '--owner=7', '--group=8', '-C', shop.context, '.']);
    await using context = await ArchiveContext.open(shop.home, Readable.from([input]));
    const [ours, theirs] = await Promise.all([
      shop.build(text, { context, ignoring: IGNORING }),
      byBuildah(text, [], input),
    ]);
    expect(await ours.files()).toEqual(await theirs.files());
  });
});

const CONFIGS = [
  'ENV A=1 B="2 3" C=4\\ 5\nENV D $A $B\nENV A=6',
  'ENV A=b\nENV E=${A:-x}${U:-y}${A:+z}',
  'LABEL a=b "c.d"="e f"\nLABEL a=g',
  'EXPOSE 80 443/tcp 53/udp',
  'VOLUME /a /b\nVOLUME ["/c d"]',
  'USER joe:staff',
  'WORKDIR /v\nWORKDIR w',
  'STOPSIGNAL SIGUSR1',
  'CMD a b',
  'CMD ["a", "b"]\nENTRYPOINT ["c"]',
  'ENTRYPOINT ["c"]\nCMD ["a", "b"]',
  'ENTRYPOINT a $B',
  'HEALTHCHECK --interval=5s --timeout=3s --start-period=1m --retries=4 CMD a b',
  'HEALTHCHECK CMD ["a", "b"]',
  'HEALTHCHECK NONE',
  'ONBUILD COPY a /\nONBUILD ENV c=d',
  'ARG A=1\nARG B=$A-2\nENV C=$B',
  'ENV A=1\nENV A=$A:2\nENV A=$A:3',
  'ENV A="b\\"c" B=\'d$e\' C=f\\ g',
  "ENV A=b\nLABEL l=$A m=${A}c n='$A'",
  'ENV P=80\nEXPOSE $P ${P}81/udp',
  'ENV V=/v\nVOLUME $V ${V}/w',
  'ENV U=joe\nUSER $U',
  'USER 5:6',
  'WORKDIR /w\nWORKDIR b\nWORKDIR ../c',
  'ENV D=/d\nWORKDIR $D/e',
  'STOPSIGNAL 9',
  'CMD ["a", "b"]\nCMD c',
  'ENTRYPOINT ["a"]\nENTRYPOINT ["b"]',
  'CMD []',
  'HEALTHCHECK --interval=1m30s --retries=2 CMD exit 1',
  'HEALTHCHECK CMD a\nHEALTHCHECK NONE',
  'ONBUILD RUN a && b\nONBUILD CMD ["c"]',
  'LABEL a="b \\\n  c"',
  'MAINTAINER me',
  'ENV A=1 B=$A\nENV C=$B-',
  'ENV A a b  c',
  'LABEL a b c',
  'LABEL "a b"=c',
  'VOLUME ["/a", "/b"]\nVOLUME /a',
  'USER joe\nUSER root',
  'CMD a | b && c',
  'ENTRYPOINT a\nCMD b',
  'ENTRYPOINT []',
  'STOPSIGNAL SIGTERM\nSTOPSIGNAL SIGKILL',
  'ARG A\nENV B=${A:-none}',
  'ARG A=x\nLABEL a=$A',
  'ONBUILD USER joe\nONBUILD EXPOSE 80',
  'HEALTHCHECK --start-period=10s CMD ["a"]',
];

describe('config', () => {
  test.each(CONFIGS)('%s', async (dockerfile) => {
    const text = `FROM scratch\nCOPY a /\n${dockerfile}\n`;
    const [ours, theirs] = await Promise.all([shop.build(text), byBuildah(text, [])]);
    expect(comparable(ours.config)).toEqual(comparable(theirs.config));
  });
});

test('what is meant to differ', async () => {
  const text = 'FROM scratch\nCOPY --chmod=4755 a /a\nSHELL ["/bin/bash", "-c"]\nCMD a\nEXPOSE 80-81\n';
  const [ours, theirs] = await Promise.all([shop.build(text), byBuildah(text, [])]);
  expect(await ours.files()).toEqual(['4755 0:0 /a "A"']);
  // As Docker, and unlike buildah: SHELL is that of CMD and ENTRYPOINT too.
  expect([ours.config.Cmd, theirs.config.Cmd]).toEqual([
    ['/bin/bash', '-c', 'a'],
    ['/bin/sh', '-c', 'a'],
  ]);
  // buildah keeps a range as it is written, which is no port of an image's config.
  expect([ours.config.ExposedPorts, theirs.config.ExposedPorts]).toEqual([
    { '80/tcp': {}, '81/tcp': {} },
    { '80-81/tcp': {} },
  ]);
});

describe('downloads', () => {
  const served = createServer((request, response) => {
    if (request.url === '/to/file') response.writeHead(302, { location: '/file.txt?x=y' }).end();
    else if (request.url === '/none') response.writeHead(404).end();
    else if (request.url?.startsWith('/x.tgz')) response.end(readFileSync(join(shop.context, 'root.tgz')));
    else response.writeHead(200, { 'last-modified': 'Fri, 13 Feb 2009 23:31:30 GMT' }).end('text');
  });
  let origin: string;

  beforeAll(async () => {
    await once(served.listen(0, '127.0.0.1'), 'listening');
    const { port } = served.address() as AddressInfo;
    origin = `http://127.0.0.1:${port}`;
    const settings = join(storage, 'registries.json');
    writeFileSync(settings, JSON.stringify({ [`127.0.0.1:${port}`]: { internal: true } }));
    vi.stubEnv('TSVM_REGISTRIES', settings);
  });

  afterAll(() => {
    vi.unstubAllEnvs();
    served.close();
  });

  test.each([
    'ADD @/file.txt /',
    'ADD @/file.txt /x/',
    'ADD @/file.txt a /x/',
    'ADD @/file%20name?a=b /x/',
    'ADD @/file.txt /x',
    'ADD @/to/file /x/',
    'ADD @/x.tgz /x/',
    'ADD --chown=5:6 --chmod=640 @/file.txt /x/',
  ])('%s', async (dockerfile) => {
    const text = `FROM scratch\n${dockerfile.replace('@', origin)}\n`;
    const [ours, theirs] = await Promise.all([shop.build(text), byBuildah(text, [])]);
    expect(await ours.files()).toEqual(await theirs.files());
  });

  test('have the time that the server says, and a checksum that is told apart', async () => {
    const sum = createHash('sha256').update('text').digest('hex');
    const { layers } = await shop.build(`FROM scratch\nADD --checksum=sha256:${sum} ${origin}/f /f`);
    const inode = buildStore(shop.home.path).tree(layers).root.children.get('f')?.inode;
    expect(inode?.mtime).toEqual({ seconds: 1234567890, nanoseconds: 0 });
    const other = `FROM scratch\nADD --checksum=sha256:${'0'.repeat(64)} ${origin}/f /f`;
    await expect(shop.build(other)).rejects.toThrow(`the checksum is sha256:${sum}`);
  });

  test('that a server refuses end the build', async () => {
    await expect(shop.build(`FROM scratch\nADD ${origin}/none /f`)).rejects.toThrow(/gives no file: HTTP status 404/);
  });

  test('are unpacked on demand', async () => {
    const { files } = await shop.build(`FROM scratch\nADD --unpack ${origin}/x.tgz /x/`);
    expect(await files()).toEqual(['750 7:8 /x/', '750 7:8 /x/a "A"']);
  });
});

describe('stages', () => {
  test.each([
    'FROM scratch AS one\nCOPY d /d\nFROM scratch\nCOPY --from=one /d /x',
    'FROM scratch AS one\nCOPY d /d\nFROM scratch\nCOPY --from=0 /d/f/ /d/l /x/',
    'FROM scratch AS one\nCOPY a /a\nENV A=b\nFROM one\nCOPY b /b',
    'FROM scratch AS one\nCOPY --chown=3:4 a /a\nFROM scratch\nCOPY --from=one /a /x/\nFROM one\nCOPY --from=1 /x /y',
  ])('%s', async (dockerfile) => {
    const [ours, theirs] = await Promise.all([shop.build(dockerfile), byBuildah(dockerfile, [])]);
    expect(await ours.files()).toEqual(await theirs.files());
    expect(comparable(ours.config)).toEqual(comparable(theirs.config));
  });
});

const PLATFORMS = ['linux/amd64', 'linux/arm64', 'linux/arm/v7'];

/** Of one platform's image of an archive that has several. */
interface Listed {
  platform: Json;
  config: Json;
  files: string[];
}

describe('several platforms', () => {
  /**
   * Platforms, configs and files of an OCI archive. The images are for other machines: no store
   * reads them.
   */
  async function listed(archive: string): Promise<Listed[]> {
    const folder = mkdtempSync(join(storage, 'listed-'));
    execFileSync('tar', ['-xf', archive, '-C', folder]);
    const read = (path: string) => JSON.parse(readFileSync(join(folder, path), 'utf8'));
    const pathOf = ({ digest }: { digest: string }) => `blobs/sha256/${digest.slice('sha256:'.length)}`;
    const [top] = read('index.json').manifests;
    const index: { manifests: { digest: string; platform: Json }[] } = top.platform
      ? read('index.json')
      : read(pathOf(top));
    return index.manifests.map((descriptor) => {
      const manifest: { config: { digest: string }; layers: { digest: string }[] } = read(pathOf(descriptor));
      const { architecture, os, config } = read(pathOf(manifest.config));
      const names = manifest.layers.map((layer) => {
        const words = ['-tvf', join(folder, pathOf(layer)), '--numeric-owner'];
        return execFileSync('tar', words, { encoding: 'utf8' }).replace(/ \d{4}-\d\d-\d\d \d\d:\d\d /g, ' ');
      });
      const files = names
        .join('')
        .split('\n')
        .filter(Boolean)
        .map((line) => line.replace(/ +/g, ' '));
      return {
        platform: descriptor.platform,
        config: comparable({ ...config, architecture, os }),
        files: files.sort(),
      };
    });
  }

  test.each([
    'FROM scratch\nARG TARGETARCH\nCOPY d/e /$TARGETARCH',
    'FROM scratch\nARG TARGETPLATFORM\nARG TARGETOS\nARG TARGETARCH\nENV P=$TARGETPLATFORM-$TARGETOS-$TARGETARCH\nCOPY a /',
    'FROM scratch AS one\nARG TARGETARCH\nCOPY a /$TARGETARCH\nFROM scratch\nCOPY --from=one / /x/\nUSER 5',
  ])('%s', async (dockerfile) => {
    const ours = join(mkdtempSync(join(storage, 'ours-')), 'x.tar');
    const take = async (archive: Readable) => writeFileSync(ours, await buffer(archive));
    await shop.buildAll(`${dockerfile}\n`, {
      platforms: PLATFORMS,
      outputs: [{ type: 'oci', take }],
      ignoring: IGNORING,
    });
    const work = mkdtempSync(join(storage, 'theirs-'));
    writeFileSync(join(work, 'Dockerfile'), `${dockerfile}\n`);
    const list = `several-${createHash('sha256').update(dockerfile).digest('hex').slice(0, 8)}`;
    const words = ['--platform', PLATFORMS.join(','), '--manifest', list, '-f', join(work, 'Dockerfile'), shop.context];
    await buildah.run(['bud', '-q', '--isolation', 'chroot', ...words]);
    const theirs = join(work, 'x.tar');
    await buildah.run(['manifest', 'push', '-q', '--all', list, `oci-archive:${theirs}`]);
    const byArchitecture = (all: Listed[]) =>
      all.sort((a, b) => (String(a.platform.architecture) < String(b.platform.architecture) ? -1 : 1));
    const [made, expected] = [byArchitecture(await listed(ours)), byArchitecture(await listed(theirs))];
    // buildah 1.28 leaves out the variant of some platforms in its list.
    const told = ({ platform: { variant: _, ...platform }, ...rest }: Listed) => ({ ...rest, platform });
    expect(made.map(told)).toEqual(expected.map(told));
    expect(made).toHaveLength(PLATFORMS.length);
  });
});
