// Builds without RUN, which need no machine: the files, the config, the cache, and hostile contexts.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  linkSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { buildStore } from '../../../images/build.js';
import { bundleImages, finished } from '../images/bundle.js';
import { Workshop } from './made.js';

let shop: Workshop;

beforeEach(() => {
  shop = new Workshop();
});

afterEach(() => shop[Symbol.dispose]());

/** The files that a Dockerfile from scratch gives. */
async function files(dockerfile: string, options = {}): Promise<string[]> {
  const made = await shop.build(`FROM scratch\n${dockerfile}`, options);
  return made.files();
}

const cachedSteps = (events: { is: string }[]) => events.filter(({ is }) => is === 'cached').length;

describe('COPY', () => {
  beforeEach(() => {
    shop.write({ a: 'A', b: 'B', 'c.txt': 'C', 'd/e': 'E', 'd/f/g': 'G', 'with space': 'S' });
    chmodSync(join(shop.context, 'd/e'), 0o750);
    symlinkSync('e', join(shop.context, 'd/l'));
  });

  test.each<[string, string[]]>([
    ['COPY a /', ['644 0:0 /a "A"']],
    ['COPY a /x', ['644 0:0 /x "A"']],
    ['COPY a x/', ['755 0:0 /x/', '644 0:0 /x/a "A"']],
    ['COPY /a ./y/../x', ['644 0:0 /x "A"']],
    ['COPY a b /x/', ['755 0:0 /x/', '644 0:0 /x/a "A"', '644 0:0 /x/b "B"']],
    ['COPY ["with space", "/x y/"]', ['755 0:0 /x y/', '644 0:0 /x y/with space "S"']],
    [
      'COPY ? /x/',
      [
        '755 0:0 /x/',
        '644 0:0 /x/a "A"',
        '644 0:0 /x/b "B"',
        '750 0:0 /x/e "E"',
        '755 0:0 /x/f/',
        '644 0:0 /x/f/g "G"',
        '/x/l -> e',
      ],
    ],
    ['COPY [ab] /x/', ['755 0:0 /x/', '644 0:0 /x/a "A"', '644 0:0 /x/b "B"']],
    ['COPY *.txt /x/', ['755 0:0 /x/', '644 0:0 /x/c.txt "C"']],
    ['COPY */f /x', ['755 0:0 /x/', '644 0:0 /x/g "G"']],
    ['COPY d /', ['750 0:0 /e "E"', '755 0:0 /f/', '644 0:0 /f/g "G"', '/l -> e']],
    ['COPY d/l /x', ['750 0:0 /x "E"']],
    ['COPY d/f /x/y', ['755 0:0 /x/', '755 0:0 /x/y/', '644 0:0 /x/y/g "G"']],
    ['COPY ../../a /x', ['644 0:0 /x "A"']],
    ['COPY --chown=5:6 --chmod=700 a /x/', ['755 5:6 /x/', '700 5:6 /x/a "A"']],
    ['COPY --chown=5 a /x', ['644 5:5 /x "A"']],
    ['COPY --chmod=u+x,go-r a /x', ['700 0:0 /x "A"']],
    ['COPY --exclude=f --exclude=l d /x', ['755 0:0 /x/', '750 0:0 /x/e "E"']],
    ['COPY --parents d/f/g /x/', ['755 0:0 /x/', '755 0:0 /x/d/', '755 0:0 /x/d/f/', '644 0:0 /x/d/f/g "G"']],
    ['COPY --parents d/./f/g /x/', ['755 0:0 /x/', '755 0:0 /x/f/', '644 0:0 /x/f/g "G"']],
    ['COPY <<E /x\n$a\nE', ['644 0:0 /x "\\n"']],
    ['ARG a=1\nCOPY <<E <<"F" /x/\n$a\nE\n$a\nF', ['755 0:0 /x/', '644 0:0 /x/E "1\\n"', '644 0:0 /x/F "$a\\n"']],
    ['WORKDIR /w/v\nCOPY a x/', ['755 0:0 /w/', '755 0:0 /w/v/', '755 0:0 /w/v/x/', '644 0:0 /w/v/x/a "A"']],
    ['WORKDIR w\nWORKDIR v\nCOPY a .', ['755 0:0 /w/', '755 0:0 /w/v/', '644 0:0 /w/v/a "A"']],
    ['COPY a /x\nCOPY b /x', ['644 0:0 /x "B"']],
    ['ENV f=a\nCOPY ${f} /$f$f', ['644 0:0 /aa "A"']],
  ])('%s', async (dockerfile, expected) => {
    expect(await files(dockerfile)).toEqual(expected);
  });

  test.each([
    ['COPY none /x', '"/none": not found'],
    ['COPY none* /x', 'no source files were found'],
    ['COPY a b /x', 'the destination must be a directory and end with a /'],
    ['COPY a /x\nCOPY b /x/', 'it is a file'],
    ['COPY a /x\nCOPY d /x', 'it is a file'],
    ['COPY --chown=joe a /x', 'unable to find user joe'],
    ['COPY --chmod=u+q a /x', "invalid chmod parameter: 'u+q'"],
    ['COPY --from=1 a /x', 'no stage before this one'],
    ['COPY --from=0 a /x', 'no stage before this one'],
    ['COPY a [ /x/', 'pattern'],
    [
      'ADD git@example.org:a.git /x',
      'cannot fetch git@example.org:a.git: no SSH key "default" forwarded from the client: give it by --ssh',
    ],
    ['ADD http://127.0.0.1:9/a.git /x', '127.0.0.1 is not on the public Internet'],
    ['ADD https://example.org/ /x/', 'cannot determine the name of the file'],
    ['ADD --checksum=sha256:00 https://example.org/a /x', 'invalid --checksum'],
    ['ADD --checksum=sha256:00 a /x', 'needs one source, which is a URL'],
    ['ADD http://127.0.0.1:9/a /x', '127.0.0.1 is not on the public Internet'],
    ['ADD http://[::ffff:169.254.169.254]/a /x', 'is not on the public Internet'],
    ['ADD http://10.0.0.1/a /x', '10.0.0.1 is not on the public Internet'],
    ['RUN --mount=type=secret,id=x,required a', 'secret x: not found: give it by --secret'],
    ['RUN --mount=type=ssh,required a', 'no SSH key "default" forwarded from the client: give it by --ssh'],
    [`RUN${' --mount=type=ssh'.repeat(9)} a`, 'a RUN mounts at most 8 SSH agents'],
    ['RUN --mount=type=ssh,id=x,target=/,required a', 'invalid mount target "/"'],
    ['RUN --mount=source=none,target=/x a', '"/none": not found'],
    ['RUN --mount=from=none,source=a,target=/x a', 'none'],
    ['RUN --mount=target=. a', 'invalid mount target "."'],
  ])('%s is refused', async (dockerfile, message) => {
    await expect(files(dockerfile)).rejects.toThrow(message);
  });

  test('ADD without a network downloads nothing', async () => {
    const refused = files('ADD http://example.org/a /x', { network: 'none' });
    await expect(refused).rejects.toThrow('the network of this build is none');
  });

  test('a name that is a whiteout in a layer removes nothing, and is left out', async () => {
    shop.write({ 'd/f/.wh.a': '', 'd/f/.wh..wh..opq': '' });
    expect(
      await files('COPY a /\nCOPY d/f /\nCOPY b /.wh.g\nCOPY <<.wh.a /\nx\n.wh.a\nCOPY <<EOF /.wh.a\nx\nEOF'),
    ).toEqual(['644 0:0 /a "A"', '644 0:0 /g "G"']);
  });

  test('names of one file stay one file', async () => {
    linkSync(join(shop.context, 'd/e'), join(shop.context, 'd/h'));
    const { layers } = await shop.build('FROM scratch\nCOPY d /x');
    const { root } = buildStore(shop.home.path).tree(layers);
    const { children } = root.children.get('x')!.inode;
    expect(children.get('e')!.inode).toBe(children.get('h')!.inode);
  });

  test('a name of a file is no link to another file that has got the first name', async () => {
    shop.write({ 'other/e': 'other' });
    linkSync(join(shop.context, 'd/e'), join(shop.context, 'd/h'));
    linkSync(join(shop.context, 'd/e'), join(shop.context, 'd/i'));
    const { layers, files } = await shop.build('FROM scratch\nCOPY d/e other/e d/h d/i /x/');
    expect(await files()).toEqual(['755 0:0 /x/', '644 0:0 /x/e "other"', '750 0:0 /x/h "E"', '750 0:0 /x/i "E"']);
    const { children } = buildStore(shop.home.path).tree(layers).root.children.get('x')!.inode;
    expect(children.get('h')!.inode).toBe(children.get('i')!.inode);
  });

  test('names that are no UTF-8 are copied by their bytes', async () => {
    writeFileSync(Buffer.from(`${shop.context}/d/f/\xff\xfe`, 'latin1'), 'bytes');
    const { layers } = await shop.build('FROM scratch\nCOPY d/f /x');
    const { root } = buildStore(shop.home.path).tree(layers);
    expect([...root.children.get('x')!.inode.children.keys()]).toEqual(['g', '\xff\xfe']);
  });

  test('names of users are those of the stage', async () => {
    shop.write({ passwd: 'root:x:0:0::/:\njoe:x:7:8::/:\n', group: 'staff:x:9:\n' });
    expect(await files('COPY passwd group /etc/\nCOPY --chown=joe a /x\nCOPY --chown=joe:staff a /y')).toEqual(
      expect.arrayContaining(['644 7:8 /x "A"', '644 7:9 /y "A"']),
    );
  });
});

describe('the context', () => {
  test('links lead nowhere out of it', async () => {
    shop.write({ a: 'A' });
    writeFileSync(join(shop.folder, 'outside'), 'secret');
    symlinkSync('../outside', join(shop.context, 'up'));
    symlinkSync(join(shop.folder, 'outside'), join(shop.context, 'absolute'));
    symlinkSync('..', join(shop.context, 'parent'));
    symlinkSync('/', join(shop.context, 'root'));
    await expect(files('COPY up /x')).rejects.toThrow('not found');
    await expect(files('COPY absolute /x')).rejects.toThrow('not found');
    await expect(files('COPY parent/outside /x')).rejects.toThrow('not found');
    await expect(files('COPY root/etc/passwd /x')).rejects.toThrow('not found');
    expect(await files('COPY root/a parent/a /x/')).toEqual(['755 0:0 /x/', '644 0:0 /x/a "A"']);
  });

  test('circles of links are no end', async () => {
    shop.write({ a: 'A' });
    symlinkSync('y', join(shop.context, 'x'));
    symlinkSync('x', join(shop.context, 'y'));
    symlinkSync('.', join(shop.context, 'self'));
    await expect(files('COPY x /x')).rejects.toThrow('not found');
    expect(await files('COPY self/self/self/a /x')).toEqual(['644 0:0 /x "A"']);
    expect(await files('COPY . /')).toEqual(['644 0:0 /a "A"', '/self -> .', '/x -> y', '/y -> x']);
  });

  test('pipes are copied without a wait, sockets are left out', async () => {
    shop.write({ a: 'A' });
    execFileSync('mkfifo', ['-m', '644', join(shop.context, 'pipe')]);
    expect(await files('COPY . /')).toEqual(['644 0:0 /a "A"', '644 0:0 /pipe fifo']);
  });

  test('a folder deeper than the limit is refused', async () => {
    shop.write({ [`${'d/'.repeat(300)}f`]: '' });
    await expect(files('COPY . /')).rejects.toThrow('deeper than 256 directories');
  });

  test('.dockerignore hides files, and shows some again', async () => {
    shop.write({ a: 'A', 'd/a': 'DA', 'd/b': 'DB', 'e/a': 'EA' });
    const ignoring = 'd\n!d/b\n**/a\n';
    expect(await files('COPY . /', { ignoring })).toEqual(['755 0:0 /d/', '644 0:0 /d/b "DB"', '755 0:0 /e/']);
    await expect(files('COPY a /', { ignoring })).rejects.toThrow('not found');
  });

  test('a build without a context copies no files', async () => {
    await expect(files('COPY a /', { context: undefined })).rejects.toThrow('no context');
    expect(await files('COPY <<E /x\nE', { context: undefined })).toEqual(['644 0:0 /x ""']);
  });
});

test('the config', async () => {
  const { config, image } = await shop.build(
    [
      'ARG V=1.0',
      'FROM scratch',
      'ARG V',
      'ARG W=$V-x',
      'ENV A=$W B="b c" PATH=/bin',
      'ENV A=2 C=$A',
      'LABEL v=$V "a b"=\'c d\'',
      'EXPOSE 80 90-91/udp $UNSET',
      'VOLUME /v "/u w"',
      'USER ${A}:5',
      'STOPSIGNAL SIGINT',
      'HEALTHCHECK --interval=5s CMD check $A',
      'SHELL ["/bin/bash", "-c"]',
      'ENTRYPOINT run $A',
      'CMD ["a", "$A"]',
      'ONBUILD COPY . /',
      'MAINTAINER me',
    ].join('\n'),
    { labels: { own: 'yes' } },
  );
  expect(config).toEqual({
    Env: ['PATH=/bin', 'A=2', 'B=b c', 'C=1.0-x'],
    Labels: { v: '1.0', 'a b': 'c d', own: 'yes' },
    ExposedPorts: { '80/tcp': {}, '90/udp': {}, '91/udp': {} },
    Volumes: { '/v': {}, '/u w': {} },
    User: '2:5',
    StopSignal: 'SIGINT',
    Healthcheck: { Test: ['CMD-SHELL', 'check $A'], Interval: 5e9 },
    Shell: ['/bin/bash', '-c'],
    Entrypoint: ['/bin/bash', '-c', 'run $A'],
    Cmd: ['a', '$A'],
    OnBuild: ['COPY . /'],
  });
  expect(image.author).toBe('me');
});

describe('stages', () => {
  test('one copies from another, by name, by number, and continues it', async () => {
    shop.write({ a: 'A' });
    const { files } = await shop.build(
      'FROM scratch AS One\nCOPY a /x/a\nFROM scratch\nCOPY --from=one /x /y\nFROM one\nCOPY --from=1 /y/a /z',
    );
    expect(await files()).toEqual(['755 0:0 /x/', '644 0:0 /x/a "A"', '644 0:0 /z "A"']);
  });

  test('only what the target needs is built', async () => {
    shop.write({ a: 'A' });
    const { events } = await shop.build(
      'FROM scratch AS bad\nCOPY none /\nFROM scratch AS good\nCOPY a /\nFROM bad\nCOPY none /',
      { target: 'good' },
    );
    expect(events.flatMap((event) => (event.is === 'begun' ? [event.name] : []))).toEqual([
      '[good 2/2] COPY a /',
      'exporting to image',
    ]);
  });

  test('a target that does not exist, a stage from nothing', async () => {
    await expect(shop.build('FROM scratch', { target: 'x' })).rejects.toThrow('target stage "x" could not be found');
    await expect(shop.build('ARG X\nFROM $X')).rejects.toThrow('base name ($X) should not be blank');
    await expect(shop.build('RUN a')).rejects.toThrow('no build stage in current context');
  });

  test('ONBUILD instructions run in the build of the image made from it', async () => {
    shop.write({ a: 'A' });
    await shop.build('FROM scratch\nONBUILD COPY a /on', { names: ['parent'] });
    const { files, config } = await shop.build('FROM parent\nCOPY a /own');
    expect(await files()).toEqual(['644 0:0 /on "A"', '644 0:0 /own "A"']);
    expect(config.OnBuild).toBeUndefined();
  });

  test('more than 1000 are refused', async () => {
    await expect(shop.build('FROM scratch\n'.repeat(1001))).rejects.toThrow('more than 1000 stages');
  });
});

describe('the cache', () => {
  const DOCKERFILE = 'FROM scratch\nCOPY a /a\nWORKDIR /w\nCOPY b /b';

  beforeEach(() => shop.write({ a: 'A', b: 'B' }));

  test('a second build makes nothing, and the same image', async () => {
    const first = await shop.build(DOCKERFILE);
    expect(cachedSteps(first.events)).toBe(0);
    const second = await shop.build(DOCKERFILE);
    expect(cachedSteps(second.events)).toBe(3);
    expect(second.id).toBe(first.id);
    expect(cachedSteps((await shop.build(DOCKERFILE, { noCache: true })).events)).toBe(0);
  });

  test('a mode counts that a variable gives', async () => {
    const dockerfile = 'FROM scratch\nARG MODE\nCOPY --chmod=$MODE a /';
    for (const mode of ['600', '755']) {
      const { files } = await shop.build(dockerfile, { buildArgs: { MODE: mode } });
      expect(await files()).toEqual([`${mode} 0:0 /a "A"`]);
    }
  });

  test('contents and modes count, times do not', async () => {
    await shop.build(DOCKERFILE);
    utimesSync(join(shop.context, 'a'), 1, 1);
    expect(cachedSteps((await shop.build(DOCKERFILE)).events)).toBe(3);
    shop.write({ b: 'BB' });
    expect(cachedSteps((await shop.build(DOCKERFILE)).events)).toBe(2);
    chmodSync(join(shop.context, 'a'), 0o600);
    expect(cachedSteps((await shop.build(DOCKERFILE)).events)).toBe(0);
  });

  test('what is ignored does not count', async () => {
    const dockerfile = 'FROM scratch\nCOPY . /';
    await shop.build(dockerfile, { ignoring: 'b' });
    shop.write({ b: 'other' });
    expect(cachedSteps((await shop.build(dockerfile, { ignoring: 'b' })).events)).toBe(1);
  });

  test('its layers outlive their image, until it is pruned', async () => {
    const { id } = await shop.build(DOCKERFILE);
    await shop.home.images.remove(id);
    await shop.home.images.prune();
    expect(cachedSteps((await shop.build(DOCKERFILE)).events)).toBe(3);
    await shop.home.images.remove(id);
    const store = buildStore(shop.home.path);
    expect(store.usage().total).toBe(3);
    const { removed, reclaimed } = await store.prune({});
    expect(removed).toBe(3);
    expect(reclaimed).toBeGreaterThan(0);
    expect(cachedSteps((await shop.build(DOCKERFILE)).events)).toBe(0);
  });

  test('a layer that a build has found stays until its end', async () => {
    const { id, layers } = await shop.build(DOCKERFILE);
    const store = buildStore(shop.home.path);
    {
      await using steps = await store.begin();
      const [key = ''] = readdirSync(join(shop.home.path, 'store-2/steps')).filter((name) =>
        readFileSync(join(shop.home.path, 'store-2/steps', name), 'utf8').startsWith(layers[0]!),
      );
      expect(await steps.find(key)).toMatchObject({ layer: layers[0] });
      await shop.home.images.remove(id);
      await store.prune({});
      expect(readdirSync(join(shop.home.path, 'store-2/layers'))).toEqual([layers[0]!.slice(7)]);
    }
    await store.prune({});
    expect(readdirSync(join(shop.home.path, 'store-2/layers'))).toEqual([]);
  });

  test("the image of a step's machine is hidden, safe from prune, and gone with its build", async () => {
    const { id, layers } = await shop.build(DOCKERFILE, { names: ['named'] });
    const store = buildStore(shop.home.path);
    const listed = async () => (await shop.home.images.list()).map(({ digest }) => digest);
    const config = { architecture: 'amd64', os: 'linux', config: {} };
    {
      await using steps = await store.begin();
      await using image = await steps.image({ config, layers });
      expect(image.id).not.toBe(id);
      await shop.home.images.prune();
      expect(store.base(image.id).layers).toEqual(layers);
      expect(await listed()).toEqual([id]);
    }
    expect(readdirSync(join(shop.home.path, 'store-2/images'))).toEqual([id.slice(7)]);
  });

  test('the image that a killed build leaves is hidden, and gone with the next use of the store', async () => {
    const { id, layers } = await shop.build(DOCKERFILE, { names: ['named'] });
    const start = await bundleImages(shop.folder, { door: 'images/build.ts', open: 'buildStore' });
    const image = JSON.stringify({ config: { architecture: 'amd64', os: 'linux', config: {} }, layers });
    const killed = start(
      shop.home.path,
      `store.begin().then((steps) => steps.image(${image})).then(() => process.kill(process.pid, 'SIGKILL'))`,
    );
    await finished(killed);
    expect(killed.signalCode).toBe('SIGKILL');
    const images = join(shop.home.path, 'store-2/images');
    expect(readdirSync(images)).toHaveLength(2);
    expect((await shop.home.images.list()).map(({ digest }) => digest)).toEqual([id]);
    await shop.home.images.prune();
    expect(readdirSync(images)).toEqual([id.slice(7)]);
    expect(readdirSync(join(shop.home.path, 'store-2/tmp'))).toEqual([]);
  });

  test('a layer that is damaged is made again', async () => {
    const { layers } = await shop.build(DOCKERFILE);
    const store = join(shop.home.path, 'store-2');
    rmSync(join(store, 'layers', layers[0]!.slice(7), 'data'));
    expect(cachedSteps((await shop.build(DOCKERFILE)).events)).toBe(2);
  });

  test('builds at once, of which each runs every step, are all whole', async () => {
    const one = () => shop.build(DOCKERFILE, { noCache: true });
    const made = await Promise.all([one(), one(), one(), one()]);
    expect(new Set(made.map(({ layers }) => layers[0])).size).toBe(1);
    for (const { files } of made) expect(await files()).toHaveLength(3);
  });
});

describe('a build that is aborted', () => {
  const DOCKERFILE = 'FROM scratch\nCOPY a /a\nCOPY b /b';

  test.each(['FROM %s', 'FROM scratch\nCOPY --from=%s a /'])('in the pull of %j', async (dockerfile) => {
    const server = createServer(() => {});
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const controller = new AbortController();
    const reason = new Error('enough');
    server.once('request', () => controller.abort(reason));
    const image = `127.0.0.1:${(server.address() as AddressInfo).port}/x`;
    const ended = shop.build(dockerfile.replace('%s', image), { signal: controller.signal });
    await expect(ended).rejects.toBe(reason);
    server.closeAllConnections();
    server.close();
  });

  test.each(['before it begins', 'between its steps', 'in a step', 'before its image is made'])(
    '%s',
    async (moment) => {
      shop.write({ a: 'A', b: 'B'.repeat(8 << 20) });
      const controller = new AbortController();
      const reason = new Error('enough');
      if (moment === 'before it begins') controller.abort(reason);
      const ended = shop.build(DOCKERFILE, {
        signal: controller.signal,
        onEvent(event) {
          const is = (what: string, step: number) => event.is === what && 'step' in event && event.step === step;
          if (moment === 'between its steps' && is('done', 1)) controller.abort(reason);
          if (moment === 'in a step' && is('begun', 2)) setImmediate(() => controller.abort(reason));
          if (moment === 'before its image is made' && is('done', 2)) controller.abort(reason);
        },
      });
      await expect(ended).rejects.toBe(reason);
      const store = join(shop.home.path, 'store-2');
      expect(readdirSync(join(store, 'tmp'))).toEqual([]);
      expect(await shop.home.images.list()).toEqual([]);
      const { files } = await shop.build(DOCKERFILE);
      expect(await files()).toHaveLength(2);
    },
  );
});

test('SOURCE_DATE_EPOCH makes two builds the same', async () => {
  shop.write({ a: 'A' });
  utimesSync(join(shop.context, 'a'), 1, 1);
  const dockerfile = 'FROM scratch\nCOPY a /x/\nWORKDIR /w\nCOPY <<E /h\nE\nCMD ["x"]';
  const first = await shop.build(dockerfile, { epoch: 1_000_000, noCache: true });
  const second = await shop.build(dockerfile, { buildArgs: { SOURCE_DATE_EPOCH: '1000000' }, noCache: true });
  expect(second.id).toBe(first.id);
  expect(first.image.created).toBe('1970-01-12T13:46:40.000Z');
});
