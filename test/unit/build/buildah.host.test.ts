// Images of Dockerfiles are those that buildah makes: the same files, with modes, owners, links and
// contents, and the same config. What is meant to differ is listed with its reason.
import { execFile } from 'node:child_process';
import { chmodSync, linkSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Json } from '../../../images/build.js';
import { type Made, Workshop } from './made.js';

let shop: Workshop;
let storage: string;

beforeAll(() => {
  shop = new Workshop();
  storage = mkdtempSync(join(tmpdir(), 'tsvm-buildah-'));
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
});

afterAll(() => {
  shop[Symbol.dispose]();
  rmSync(storage, { recursive: true, force: true });
});

const IGNORING = '*.tmp\nhidden\n!hidden/shown\n';

async function byBuildah(dockerfile: string, args: readonly string[]): Promise<Made> {
  const work = mkdtempSync(join(storage, 'build-'));
  writeFileSync(join(work, 'Dockerfile'), dockerfile);
  const buildah = (...argv: string[]) =>
    promisify(execFile)('buildah', [
      ...['--root', join(storage, 'root'), '--runroot', join(storage, 'run'), '--storage-driver', 'vfs'],
      ...argv,
    ]);
  await buildah(
    'bud',
    '-q',
    '--format',
    'docker',
    '--isolation',
    'chroot',
    ...args,
    '-t',
    'made',
    '-f',
    join(work, 'Dockerfile'),
    shop.context,
  );
  // An OCI layout would lose the fields that only Docker's format has.
  const archive = join(work, 'made.tar');
  await buildah('push', '-q', 'localhost/made', `docker-archive:${archive}`);
  return shop.open(`docker-archive:${archive}`);
}

/** Fields of Docker's format that say nothing of an image. */
const UNSAID = /^(Image|Hostname|Domainname|Attach.*|Tty|OpenStdin|StdinOnce|ArgsEscaped)$/;

/** buildah writes empty fields, a label and a PATH of its own, and the root as working directory. */
function comparable({ Labels, Env, WorkingDir, ...rest }: Json): Json {
  const labels = Object.entries(Labels ?? {}).filter(([name]) => name !== 'io.buildah.version');
  const env = Object.values(Env ?? {}).filter((text) => !String(text).startsWith('PATH='));
  const fields = {
    ...rest,
    Labels: Object.fromEntries(labels),
    Env: env,
    WorkingDir: WorkingDir === '/' ? '' : WorkingDir,
  };
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([name, value]) => !UNSAID.test(name) && value && (typeof value !== 'object' || Object.keys(value).length > 0),
    ),
  );
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
];

describe('files', () => {
  test.each(COPIES)('%s', async (dockerfile) => {
    const text = `FROM scratch\n${dockerfile}\n`;
    const [ours, theirs] = await Promise.all([shop.build(text, { ignoring: IGNORING }), byBuildah(text, [])]);
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
];

describe('config', () => {
  test.each(CONFIGS)('%s', async (dockerfile) => {
    const text = `FROM scratch\nCOPY a /\n${dockerfile}\n`;
    const [ours, theirs] = await Promise.all([shop.build(text), byBuildah(text, [])]);
    expect(comparable(ours.config)).toEqual(comparable(theirs.config));
  });
});

test('what is meant to differ', async () => {
  const text = 'FROM scratch\nCOPY --chmod=4755 a /a\nSHELL ["/bin/bash", "-c"]\nCMD a\n';
  const [ours, theirs] = await Promise.all([shop.build(text), byBuildah(text, [])]);
  expect(await ours.files()).toEqual(['4755 0:0 /a "A"']);
  // As Docker, and unlike buildah: SHELL is that of CMD and ENTRYPOINT too.
  expect([ours.config.Cmd, theirs.config.Cmd]).toEqual([
    ['/bin/bash', '-c', 'a'],
    ['/bin/sh', '-c', 'a'],
  ]);
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
