// tsvm build with RUN: each command in a machine of its own, and what it leaves in the image.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { Home } from '../../sandbox/home/home.js';
import { makeCertificates } from '../fixtures/certificates.js';
import { writeLayout } from '../fixtures/oci-layout.js';
import { tar } from '../fixtures/tar-writer.js';
import { DEBIAN, type Result, readUntil, run, TSVM, uml } from './machine.js';
import { copyStores } from './own-home.js';
import { Terminal } from './tmux.js';

const NAME = 'tsvm-e2e-build';
let context: string;
/** A home whose images are of these builds alone. */
let home: string;

beforeAll(() => {
  context = mkdtempSync('/var/tmp/tsvm-build-');
  home = copyStores(new Home().path, join(dirname(inject('homes').here), 'build'));
});

afterAll(() => {
  rmSync(context, { recursive: true });
  rmSync(home, { recursive: true });
});

const md5 = (text: string): string => createHash('md5').update(text).digest('hex');

const tsvm = (...argv: string[]): Promise<Result> => run(uml, [TSVM, ...argv], { env: { TSVM_HOME: home } });

function build(dockerfile: string, ...options: string[]): Promise<Result> {
  writeFileSync(join(context, 'Dockerfile'), dockerfile);
  return tsvm('build', '-t', NAME, ...options, context);
}

test('a stage compiles, another one takes what it made, and the container runs it', async () => {
  writeFileSync(join(context, 'greet.in'), 'echo Hello, @WHO@\n');
  const dockerfile = `FROM ${DEBIAN} AS made
ARG WHO=nobody
WORKDIR /src
COPY greet.in .
RUN sed "s/@WHO@/$WHO/" greet.in > greet && chmod 755 greet
FROM ${DEBIAN}
RUN useradd --uid 1234 joe && ln /etc/hostname.none /x 2>/dev/null || ln /etc/passwd /passwd
COPY --from=made --chown=joe /src/greet /usr/local/bin/
USER joe
ENV LEVEL=2
RUN ["sh", "-c", "id -u > /tmp/id; echo $LEVEL >> /tmp/id; pwd >> /tmp/id"]
CMD greet; cat /tmp/id; stat -c '%u %a' /usr/local/bin/greet; stat -c %h /passwd
`;
  const first = await build(dockerfile, '--build-arg', 'WHO=world');
  expect(first).toMatchObject({ code: 0, stdout: expect.stringMatching(/^sha256:[0-9a-f]{64}\n$/) });
  expect(await tsvm('run', '--rm', NAME)).toMatchObject({ code: 0, stdout: 'Hello, world\n1234\n2\n/\n1234 755\n2\n' });
  const again = await build(dockerfile, '--build-arg', 'WHO=world');
  expect(again.stdout).toBe(first.stdout);
  expect(again.stderr.match(/^#\d+ CACHED$/gm)).toHaveLength(6);
  const { stdout } = await tsvm('images', '-q', '--filter', 'dangling=true');
  expect(stdout).toBe('');
});

test('a layer has the changes of its RUN alone', async () => {
  const { code } = await build(`FROM ${DEBIAN}
RUN true
RUN rm /etc/issue && mkdir -p /a/b && echo c > /a/b/c && chmod 2750 /a && touch -d @5 /etc/motd
RUN rm -r /a/b`);
  expect(code).toBe(0);
  const { stdout } = await tsvm('history', '--format', '{{.CreatedBy}} {{.Size}}', NAME);
  expect(stdout.split('\n')[2]).toBe('RUN /bin/sh -c true 0B');
  const archive = join(context, 'saved.tar');
  await tsvm('save', '-o', archive, NAME);
  const listed = await run(
    uml,
    [
      'bash',
      '-c',
      `
    cd "$FOLDER" && tar xf saved.tar manifest.json && tar xf saved.tar $(grep -o 'blobs/sha256/[0-9a-f]*' manifest.json)
    for layer in $(grep -o '"Layers":.*' manifest.json | grep -o 'blobs/sha256/[0-9a-f]*' | tail -n 2); do tar tf $layer; echo; done
  `,
    ],
    { env: { FOLDER: context } },
  );
  expect(
    listed.stdout.split('\n\n').map((part) =>
      part
        .trim()
        .split('\n')
        .map((name) => name.replace(/^\.\//, ''))
        .filter(Boolean)
        .sort(),
    ),
  ).toEqual([['a/', 'a/.wh..wh..opq', 'a/b/', 'a/b/c', 'etc/', 'etc/.wh.issue', 'etc/motd'], ['a/', 'a/.wh.b'], []]);
});

test('a command that fails ends the build with its output, its lines and exit code 1', async () => {
  const before = await tsvm('images', '-aq');
  const { code, stderr, stdout } = await build(`FROM ${DEBIAN}\nRUN echo before; \\\n  exit 7\nRUN echo never`);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/^#2 \d+\.\d+ before$/m);
  expect(stderr).toContain('  2 | >>> RUN echo before; \\\n  3 | >>>   exit 7\n');
  expect(stderr).toContain('did not complete successfully: exit code: 7');
  expect(stderr).not.toContain('never\n#');
  // The image of its machine is gone.
  expect(await tsvm('images', '-aq')).toEqual(before);
});

test('SIGINT ends a build with its machines, and leaves no image and no container', async () => {
  const before = await tsvm('images', '-aq');
  writeFileSync(join(context, 'Dockerfile'), `FROM ${DEBIAN}\nRUN echo begun; sleep 1000`);
  const running = uml.spawn([TSVM, 'build', '-t', `${NAME}-ended`, context], { env: { TSVM_HOME: home } });
  await readUntil(running.stderr, (said) => /^#2 \d+\.\d+ begun$/m.test(said));
  running.kill('SIGINT');
  expect(await running.exit).toBe(130);
  expect(await tsvm('images', '-aq')).toEqual(before);
  expect(await tsvm('ps', '-aq')).toMatchObject({ stdout: '' });
});

test('what a RUN leaves running is ended, though it never stops to write', async () => {
  const { code } = await build(`FROM ${DEBIAN}
RUN (while :; do echo tick; sleep 0.02; done) & sleep 0.1; echo done > /done`);
  expect(code).toBe(0);
  expect(await tsvm('run', '--rm', NAME, 'cat', '/done')).toMatchObject({ code: 0, stdout: 'done\n' });
});

test('mounts of a RUN: its files are there, and none of them is in a layer', async () => {
  const secret = 'thousand-and-one-nights';
  writeFileSync(join(context, 'token'), secret);
  writeFileSync(join(context, 'bound'), 'from the context');
  writeFileSync(join(context, '.dockerignore'), 'token\ngreet.in\nsaved.tar\nmanifest.json\nblobs\niid\n');
  const dockerfile = `FROM ${DEBIAN} AS made
RUN mkdir -m 750 /made && chown 5:6 /made && echo made > /made/file
FROM ${DEBIAN}
ARG ROUND
RUN --mount=type=bind,target=/context --mount=type=bind,from=made,source=/made,target=/new/made,rw \
    --mount=type=secret,id=token,uid=7,mode=0440 --mount=type=secret,id=token,env=TOKEN \
    --mount=type=secret,id=other,target=/root/.other --mount=type=secret,id=none \
    --mount=type=tmpfs,target=/scratch,size=1m --mount=type=cache,target=/kept,uid=9,mode=0711,sharing=locked \
    --mount=type=cache,target=/begun,from=made,source=/made <<EOF
set -e
echo x > /new/made/added
! { echo x > /context/added; } 2> /dev/null
! { echo x > /run/secrets/token; } 2> /dev/null
! { head -c 2000000 /dev/zero > /scratch/large; } 2> /dev/null
echo round $ROUND >> /kept/rounds
echo round $ROUND >> /begun/file
{
  cat /context/bound; echo
  ls /context /.tsvm-build
  stat -c '%n %a %u %g' /new/made /new/made/file /run/secrets/token /kept
  cat /run/secrets/token /root/.other | md5sum; printf %s "$TOKEN" | md5sum
  ls /run/secrets
  cat /kept/rounds
  stat -c '%n %a %u %g' /begun
  cat /begun/file
  grep named.invalid /etc/hosts
} > /out
EOF
RUN ls -A /begun /context /kept /scratch /new /run/secrets /root/.other /.tsvm-build 2> /dev/null > /left || ls -A /run >> /left
`;
  writeFileSync(join(context, 'other'), 'other secret');
  const options = [
    '--secret',
    `id=token,src=${join(context, 'token')}`,
    '--secret',
    `id=other,src=${join(context, 'other')}`,
    '--add-host',
    'named.invalid:192.0.2.7',
  ];
  const first = await build(dockerfile, ...options, '--build-arg', 'ROUND=1', '--progress', 'rawjson');
  expect({ code: first.code, stderr: first.code === 0 ? '' : first.stderr }).toEqual({ code: 0, stderr: '' });
  const again = await build(dockerfile, ...options, '--build-arg', 'ROUND=2');
  expect(again.code).toBe(0);
  const { stdout } = await tsvm('run', '--rm', NAME, 'sh', '-c', 'cat /out; echo; cat /left');
  expect(stdout).toBe(`from the context
/.tsvm-build:

/context:
Dockerfile
bound
other
/new/made 750 5 6
/new/made/file 644 0 0
/run/secrets/token 440 7 0
/kept 711 9 0
${md5(`${secret}other secret`)}  -
${md5(secret)}  -
token
round 1
round 2
/begun 750 5 6
made
round 1
round 2
192.0.2.7\tnamed.invalid

lock
`);
  // Neither in what was told, nor in the image, its history, the cache, nor a file of any other kind.
  expect(first.stderr + again.stderr).not.toContain(secret);
  const script = 'find -H "$0" "$0"/* -newer "$1" -type f -exec grep -laF "$2" {} +';
  const found = await run(uml, ['sh', '-c', script, home, join(context, 'bound'), secret]);
  expect(found.stdout).toBe('');
  const kept = await run(uml, ['sh', '-c', script, home, join(context, 'bound'), 'from the context']);
  expect(kept.stdout).not.toBe('');
});

test('heredocs, another shell, an environment, no network', async () => {
  const iid = join(context, 'iid');
  const { code, stderr } = await build(
    `FROM ${DEBIAN}
ARG SECRET_ARG=s
ENV A="b c"
SHELL ["/bin/bash", "-euc"]
RUN <<EOF
[[ $A == "b c" && $SECRET_ARG == s ]]
echo one > /out
EOF
RUN cat <<A - <<B >> /out
not read
A
two $A
B
RUN <<'EOF'
#!/usr/bin/perl
open my $out, '>>', '/out'; print $out "three\\n";
EOF
RUN --network=none ls /sys/class/net >> /out`,
    '--iidfile',
    iid,
  );
  expect(code, stderr).toBe(0);
  const { stdout } = await tsvm('run', '--rm', readFileSync(iid, 'utf8'), 'cat', '/out');
  expect(stdout).toBe('one\ntwo b c\nthree\nlo\n');
});

test('a RUN of a stage for this platform makes what an image for another one has', async () => {
  const { code, stdout, stderr } = await build(
    `FROM --platform=$BUILDPLATFORM ${DEBIAN} AS made
ARG TARGETARCH BUILDARCH
RUN echo "$TARGETARCH on $BUILDARCH" > /made
FROM scratch
COPY --from=made /made /`,
    '--platform',
    'linux/arm64',
  );
  expect(code, stderr).toBe(0);
  const form = '{{.Architecture}}';
  expect((await tsvm('image', 'inspect', '-f', form, stdout.trim())).stdout).toBe('arm64\n');
  const folder = join(context, 'arm64');
  const exported = await build(
    readFileSync(join(context, 'Dockerfile'), 'utf8'),
    ...['--platform', 'linux/arm64', '--output', `type=local,dest=${folder}`],
  );
  expect(exported.code, exported.stderr).toBe(0);
  expect(readFileSync(join(folder, 'made'), 'utf8')).toBe('arm64 on amd64\n');
});

test('mounts of a RUN have the files of named contexts: a folder, an archive at a URL, an image, a layout', async () => {
  const work = mkdtempSync('/var/tmp/tsvm-build-contexts-');
  const { authority, certificate, key } = makeCertificates(work);
  mkdirSync(join(work, 'folder/d'), { recursive: true });
  writeFileSync(join(work, 'folder/d/f'), 'of a folder');
  writeFileSync(join(work, 'folder/hidden'), 'hidden');
  writeFileSync(join(work, 'folder/.dockerignore'), 'hidden\n.*\n');
  writeLayout(join(work, 'layout'), [tar([{ path: 'l', data: 'of a layout' }])], { tag: 'one' });
  const archive = gzipSync(tar([{ path: 'a', data: 'of a URL' }]));
  const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (_, answer) =>
    answer.end(archive),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const registries = join(work, 'registries.json');
  writeFileSync(registries, JSON.stringify({ [host]: { ca: authority } }));
  try {
    const contexts = {
      folder: join(work, 'folder'),
      remote: `https://${host}/x.tar.gz`,
      layout: `oci-layout://${work}/layout:one`,
      'base:2': `docker-image://${DEBIAN}`,
    };
    writeFileSync(
      join(context, 'Dockerfile'),
      `FROM base:2 AS remote
RUN false
FROM base:2
RUN --mount=from=folder,target=/folder --mount=from=remote,target=/remote,rw \\
    --mount=type=bind,from=layout,source=/l,target=/l --mount=from=base:2,source=/etc,target=/base \\
    { cat /folder/d/f; echo; ls -A /folder; cat /remote/a; echo; cat /l; echo; cmp /base/passwd /etc/passwd; \\
      touch /remote/more; touch /folder/more || echo read-only; } > /out 2> /dev/null
RUN ls -Ad /folder /remote /l /base > /left 2> /dev/null || true
`,
    );
    const words = Object.entries(contexts).flatMap(([name, value]) => ['--build-context', `${name}=${value}`]);
    const env = { TSVM_HOME: home, TSVM_REGISTRIES: registries };
    const made = await run(uml, [TSVM, 'build', '-t', NAME, ...words, context], { env });
    expect({ code: made.code, stderr: made.code === 0 ? '' : made.stderr }).toEqual({ code: 0, stderr: '' });
    expect(await tsvm('run', '--rm', NAME, 'cat', '/out', '/left')).toMatchObject({
      code: 0,
      stdout: 'of a folder\nd\nof a URL\nof a layout\nread-only\n',
    });
    // What a mount has is in the key of its step. The stage whose place a context takes is a step too.
    writeFileSync(join(work, 'folder/hidden'), 'changed');
    const again = await run(uml, [TSVM, 'build', '-t', NAME, ...words, context], { env });
    expect([again.stdout, again.stderr.match(/^#\d+ CACHED$/gm)?.length]).toEqual([made.stdout, 3]);
    writeFileSync(join(work, 'folder/d/f'), 'changed');
    const changed = await run(uml, [TSVM, 'build', '-t', NAME, ...words, context], { env });
    expect([changed.code, changed.stdout === made.stdout]).toEqual([0, false]);
    const untrusted = await tsvm('build', '-t', NAME, ...words, context);
    expect(untrusted).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/certificate/) });
  } finally {
    server.closeAllConnections();
    server.close();
    rmSync(work, { recursive: true });
  }
});

test('on a terminal the steps that run are drawn below those that have ended, at any width', async () => {
  const line = '\u6f22\u5b57'.repeat(100);
  writeFileSync(
    join(context, 'Dockerfile'),
    `FROM ${DEBIAN}\nCOPY seen /\nRUN echo ${line}; echo begun; while [ ! -e /dev/shm/x ]; do sleep 1; done`,
  );
  const command = `TSVM_HOME='${home}' '${TSVM}' build --no-cache '${context}'; echo "code $?"; sleep 1000`;
  writeFileSync(join(context, 'seen'), 'x');
  await using terminal = await Terminal.open(uml, command, [80, 24]);
  const frame =
    /^ => \[2\/3\] COPY seen \/ +\d+\.\ds\n\[\+\] Building \d+\.\ds \(2\/3\)\n => \[3\/3\] RUN .* \d+\.\ds\n => => # (?:\u6f22\u5b57)+\u6f22?\n => => # begun$/m;
  await terminal.shows(frame);
  await terminal.resize(40, 10);
  await terminal.shows(
    /^\[\+\] Building \d+\.\ds \(2\/3\)\n => \[3\/3\] RUN .{0,20} \d+\.\ds\n => => # (?:\u6f22\u5b57){7}\u6f22\n => => # begun$/m,
  );
  await terminal.resize(100, 24);
  await terminal.shows(
    /^\[\+\] Building \d+\.\ds \(2\/3\)\n => \[3\/3\] RUN .{30,} \d+\.\ds\n => => # (?:\u6f22\u5b57)+\u6f22?\n => => # begun$/m,
  );
  await terminal.press('C-c');
  await terminal.shows(
    /^ => CANCELED \[3\/3\] RUN .* \d+\.\ds\n\[\+\] Building \d+\.\ds \(3\/3\) FINISHED\ntsvm: ended by SIGINT\ncode 130$/m,
  );
  expect(await terminal.screen()).not.toContain('=> => #');
  expect(await tsvm('ps', '-aq')).toMatchObject({ stdout: '' });
});

test('two builds with RUN and SOURCE_DATE_EPOCH make the same image', async () => {
  const dockerfile = `FROM ${DEBIAN}
RUN mkdir -p /a/b && date +%N > /etc/motd.none; rm /etc/motd.none; echo c > /a/b/c && ln -s c /a/b/l && ln /a/b/c /a/d
RUN useradd -m joe && touch -d @5 /old && touch -d '2100-01-01' /late && mkfifo /pipe && rm -r /a/b
RUN --mount=type=cache,target=/kept --mount=type=tmpfs,target=/scratch echo $$ > /kept/x; cp -a /usr/share/doc/bash /copied
WORKDIR /w
RUN --network=none apt-config dump > dump && tar c -C / a old > tar`;
  writeFileSync(join(context, 'Dockerfile'), dockerfile);
  const once = () =>
    run(uml, [TSVM, 'build', '-q', '--no-cache', context], {
      env: { TSVM_HOME: home, SOURCE_DATE_EPOCH: '1500000000' },
    });
  const [first, second] = [await once(), await once()];
  expect(first).toMatchObject({ code: 0, stdout: expect.stringMatching(/^sha256:[0-9a-f]{64}\n$/) });
  expect(second.stdout).toBe(first.stdout);
});
