// Builds of several platforms: an image each, and an index of them. No command of a foreign machine
// runs, and what a stage of this machine makes is the same for all.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { manifestLists } from '../../../images/lists.js';
import { writeLayout } from '../../fixtures/oci-layout.js';
import { tar } from './archive.js';
import { Workshop } from './made.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));
const BOTH = ['linux/amd64', 'linux/arm64'];

let shop: Workshop;

beforeEach(() => {
  shop = new Workshop();
});

afterEach(() => shop[Symbol.dispose]());

const at = (name: string): string => join(shop.folder, name);

function tsvm(...argv: string[]) {
  const env = { ...process.env, TSVM_HOME: shop.home.path };
  const { status, stdout, stderr } = spawnSync(TSVM, argv, { env });
  return { status, stdout: stdout.toString(), stderr: stderr.toString() };
}

function build(dockerfile: string, ...options: string[]) {
  shop.write({ Dockerfile: dockerfile, a: 'A', 'bin-amd64': 'x86', 'bin-arm64': 'arm', 'bin-arm': 'arm7' });
  return tsvm('build', '--progress', 'quiet', ...options, shop.context);
}

interface Descriptor {
  digest: string;
  size: number;
  mediaType: string;
  platform?: object;
}

const INDEX = 'application/vnd.oci.image.index.v1+json';

/** The index, the configs and the files of an archive that a build has written. */
function contents(archive: string) {
  const read = (name: string) =>
    JSON.parse(execFileSync('tar', ['-xOf', archive, name], { encoding: 'utf8', maxBuffer: 1 << 24 }));
  const blob = ({ digest }: Descriptor) => read(`blobs/sha256/${digest.slice(7)}`);
  const [top] = read('index.json').manifests;
  const index: { manifests: Descriptor[] } = blob(top);
  const configs = index.manifests.map((each) => blob(blob(each).config));
  return { top, index, configs };
}

test('the arguments of platforms are those of each image', () => {
  const args = ['OS', 'ARCH', 'VARIANT', 'PLATFORM'].flatMap((part) => [`TARGET${part}`, `BUILD${part}`]);
  const dockerfile = `FROM scratch
${args.map((name) => `ARG ${name}`).join('\n')}
ENV TARGET=$TARGETOS-$TARGETARCH-$TARGETVARIANT-$TARGETPLATFORM BUILD=$BUILDOS-$BUILDARCH-$BUILDVARIANT-$BUILDPLATFORM
COPY bin-$TARGETARCH /bin`;
  const platforms = 'linux/amd64,linux/arm64/v8,linux/arm/v7';
  const made = build(dockerfile, '--platform', platforms, '-o', `type=oci,dest=${at('x.tar')}`);
  expect(made).toMatchObject({ status: 0, stderr: '' });
  const { top, index, configs } = contents(at('x.tar'));
  expect(top.mediaType).toBe(INDEX);
  expect(made.stdout).toBe(`${top.digest}\n`);
  expect(index.manifests.map(({ platform }) => platform)).toEqual([
    { os: 'linux', architecture: 'amd64' },
    { os: 'linux', architecture: 'arm64' },
    { os: 'linux', architecture: 'arm', variant: 'v7' },
  ]);
  const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  const build64 = 'BUILD=linux-amd64--linux/amd64';
  expect(configs.map(({ config }) => config.Env)).toEqual([
    [path, 'TARGET=linux-amd64--linux/amd64', build64],
    [path, 'TARGET=linux-arm64--linux/arm64', build64],
    [path, 'TARGET=linux-arm-v7-linux/arm/v7', build64],
  ]);
  expect(configs.map(({ architecture, variant }) => [architecture, variant])).toEqual([
    ['amd64', undefined],
    ['arm64', undefined],
    ['arm', 'v7'],
  ]);
});

test('the store has each image, a list by the name, and for this machine the image itself', async () => {
  const both = ['--platform', BOTH[0]!, '--platform', BOTH[1]!, '-t', 'made'];
  const files = ['--iidfile', at('id'), '--metadata-file', at('metadata')];
  const first = build('FROM scratch\nARG TARGETARCH\nCOPY bin-$TARGETARCH /bin', ...both, ...files);
  expect(first).toMatchObject({ status: 0, stderr: '' });
  const digest = first.stdout.trim();
  expect(readFileSync(at('id'), 'utf8')).toBe(digest);
  expect(JSON.parse(readFileSync(at('metadata'), 'utf8'))).toEqual({
    'containerimage.descriptor': { mediaType: INDEX, digest, size: expect.any(Number) },
    'containerimage.digest': digest,
    'image.name': 'docker.io/library/made:latest',
  });
  const own = await shop.open('made');
  expect(own.image).toMatchObject({ architecture: 'amd64' });
  expect(await own.files()).toEqual(['644 0:0 /bin "x86"']);
  const lists = manifestLists(shop.home.path);
  const { isList, manifests } = await lists.readAll('made');
  expect({ isList, platforms: manifests.map(({ manifest }) => manifest.platform?.architecture) }).toEqual({
    ...{ isList: true, platforms: ['amd64', 'arm64'] },
  });
  const inspected = JSON.parse(tsvm('manifest', 'inspect', 'made').stdout);
  expect(inspected.manifests.map((each: Descriptor) => each.digest)).toEqual(
    manifests.map(({ manifest }) => manifest.digest),
  );
  // Images of the list stay, those of an earlier list go.
  expect(tsvm('image', 'prune', '-f')).toMatchObject({ status: 0 });
  expect((await shop.home.images.list()).map(({ name, tag }) => `${name}:${tag}`).sort()).toEqual([
    ...['made:latest', 'made:null'],
  ]);
  expect((await shop.home.images.usage()).images.total).toBe(2);
  expect(build('FROM scratch\nCOPY a /', ...both)).toMatchObject({ status: 0 });
  expect(lists.isBuilt('made')).toBe(true);
  tsvm('image', 'prune', '-f');
  expect((await shop.home.images.usage()).images.total).toBe(2);
  // A later image of the name is what the name means.
  expect(build('FROM scratch\nCOPY a /b', '-t', 'made')).toMatchObject({ status: 0 });
  expect(lists.isBuilt('made')).toBe(false);
  expect(tsvm('manifest', 'rm', 'made')).toMatchObject({ status: 0 });
  tsvm('image', 'prune', '-f');
  expect((await shop.home.images.usage()).images.total).toBe(1);
});

test('one platform makes an image, of whatever machine', async () => {
  const metadata = ['--metadata-file', at('metadata')];
  expect(build('FROM scratch\nCOPY a /', '--platform', 'arm64', '-t', 'made', ...metadata)).toMatchObject({
    ...{ status: 0, stderr: '' },
  });
  expect(tsvm('run', '--pull', 'never', 'made')).toMatchObject({
    status: 125,
    stderr: expect.stringMatching(/is for linux\/arm64/),
  });
  const told = JSON.parse(readFileSync(at('metadata'), 'utf8'));
  const [image] = await shop.home.images.list();
  expect(told['containerimage.config.digest']).toBe(image?.digest);
  expect(told['containerimage.digest']).toBe(told['containerimage.descriptor'].digest);
});

test('files go into a folder for each platform', () => {
  const dockerfile = 'FROM scratch\nARG TARGETARCH\nCOPY bin-$TARGETARCH /d/bin';
  expect(
    build(dockerfile, '--platform', BOTH.join(','), '-o', at('out'), '-o', `type=tar,dest=${at('x.tar')}`),
  ).toEqual({
    ...{ status: 0, stdout: '', stderr: '' },
  });
  expect(readFileSync(at('out/linux_amd64/d/bin'), 'utf8')).toBe('x86');
  expect(readFileSync(at('out/linux_arm64/d/bin'), 'utf8')).toBe('arm');
  expect(execFileSync('tar', ['-xOf', at('x.tar'), 'linux_arm64/d/bin'], { encoding: 'utf8' })).toBe('arm');
  expect(execFileSync('tar', ['-tf', at('x.tar')], { encoding: 'utf8' }).split('\n')).toEqual([
    ...['linux_amd64/', 'linux_amd64/d/', 'linux_amd64/d/bin'],
    ...['linux_arm64/', 'linux_arm64/d/', 'linux_arm64/d/bin', ''],
  ]);
});

test('a step that is the same for all platforms is made once', async () => {
  const dockerfile = 'FROM --platform=$BUILDPLATFORM scratch AS made\nCOPY a /\nFROM scratch\nCOPY --from=made / /';
  shop.write({ a: 'A' });
  const { events } = await shop.buildAll(dockerfile, { platforms: BOTH, noCache: true });
  const names = new Map(events.flatMap((event) => (event.is === 'begun' ? [[event.step, event.name]] : [])));
  const ended = events.flatMap((event) =>
    event.is === 'done' || event.is === 'cached' ? [`${event.is} ${names.get(event.step)}`] : [],
  );
  // Either platform may be the first to make a step.
  const copies = ended.filter((text) => text.includes('COPY')).map((text) => text.replace(/linux\/\w+ /, ''));
  expect(copies.sort()).toEqual([
    'cached [made 2/2] COPY a /',
    'cached [stage-1 2/2] COPY --from=made / /',
    'done [made 2/2] COPY a /',
    'done [stage-1 2/2] COPY --from=made / /',
  ]);
});

test('a base image is the one for the platform', async () => {
  const layout = at('layout');
  writeLayout(layout, [tar({ path: 'l', text: 'L' })], { tag: 'one', config: { Env: ['A=b'] }, architecture: 'arm64' });
  const context = ['--build-context', `base=oci-layout://${layout}:one`];
  const options = [...context, '--platform', 'linux/arm64', '-o', at('out')];
  expect(build('FROM base\nCOPY a /', ...options)).toMatchObject({ status: 0, stderr: '' });
  expect([readFileSync(at('out/l'), 'utf8'), readFileSync(at('out/a'), 'utf8')]).toEqual(['L', 'A']);
  expect(build('FROM base\nCOPY a /', ...context)).toMatchObject({
    ...{ status: 125, stderr: expect.stringMatching(/the image is for linux\/arm64; .* linux\/amd64\n$/) },
  });
  expect(build('FROM --platform=linux/arm64 base AS b\nFROM scratch\nCOPY --from=b /l /', ...context)).toMatchObject({
    ...{ status: 0 },
  });
});

/** No registry is there: what the store lacks cannot be had. */
const BASE = 'localhost:1/base';

test('a base image of the store is the one for the variant', () => {
  const variants = 'FROM scratch\nARG TARGETVARIANT\nENV V=$TARGETVARIANT\nCOPY a /';
  const from = (platform: string) =>
    build(`FROM ${BASE}`, '--platform', platform, '-o', `type=oci,dest=${at('x.tar')}`);
  const variant = () => execFileSync('tar', ['-xOf', at('x.tar')], { encoding: 'latin1' }).match(/"V=(\w*)"/)?.[1];
  // None of them is for this machine, so an earlier image does not keep the name.
  expect(build('FROM scratch\nENV V=amd64', '-t', BASE)).toMatchObject({ status: 0 });
  expect(build(variants, '--platform', 'linux/arm/v5,linux/arm/v7,linux/arm/v6', '-t', BASE)).toMatchObject({
    ...{ status: 0, stderr: '' },
  });
  expect(manifestLists(shop.home.path).isBuilt(BASE)).toBe(true);
  for (const wanted of ['v6', 'v7', 'v5']) {
    expect(from(`linux/arm/${wanted}`)).toMatchObject({ status: 0, stderr: '' });
    expect(variant()).toBe(wanted);
  }
  // One that the machine cannot run is not taken for it, also by its name.
  expect(build(variants, '--platform', 'linux/arm/v7', '-t', BASE)).toMatchObject({ status: 0 });
  expect(from('linux/arm/v6').status).toBe(125);
  expect(from('linux/arm/v7')).toMatchObject({ status: 0, stderr: '' });
});

test('a list that a later image has replaced gives no base image', () => {
  const both = ['--platform', BOTH.join(','), '-t', BASE];
  expect(build('FROM scratch\nCOPY a /', ...both)).toMatchObject({ status: 0 });
  expect(build(`FROM ${BASE}`, '--platform', 'linux/arm64')).toMatchObject({ status: 0 });
  expect(build('FROM scratch\nCOPY a /b', '-t', BASE)).toMatchObject({ status: 0 });
  expect(build(`FROM ${BASE}`, '--platform', 'linux/arm64').status).toBe(125);
});

test.each([
  ['FROM scratch\nCOPY a /\nRUN ["/a"]', 'Dockerfile:3'],
  ['FROM --platform=$TARGETPLATFORM scratch AS b\nFROM b\nRUN a', 'Dockerfile:3'],
  ['FROM --platform=linux/riscv64 scratch AS b\nRUN a\nFROM scratch\nCOPY --from=b / /', 'Dockerfile:2'],
  ['FROM scratch AS b\nONBUILD RUN a\nFROM b\n', 'Dockerfile:3'],
])('a command for another machine is refused with its line: %j', async (dockerfile, place) => {
  const { status, stdout, stderr } = build(dockerfile, '--platform', 'linux/arm64', '-t', 'made');
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(stderr.split('\n')[0]).toBe(`${shop.context}/${place}`);
  expect(stderr.trimEnd().split('\n').at(-1)).toMatch(
    /^tsvm: RUN needs a machine for linux\/(arm64|riscv64), and this one runs linux\/amd64: run it in a stage FROM --platform=\$BUILDPLATFORM, and COPY what it makes$/,
  );
  expect(await shop.home.images.list()).toEqual([]);
});

test('what several platforms cannot be is told in a line', () => {
  const both = ['--platform', BOTH.join(',')];
  expect(build('FROM scratch', ...both, '-o', `type=docker,dest=${at('x.tar')}`)).toMatchObject({
    ...{ status: 1, stderr: 'tsvm: output type=docker has one platform: use type=oci for several\n' },
  });
  expect(build('FROM scratch', '--platform', 'linux/a/b/c')).toMatchObject({
    status: 125,
    stderr: expect.stringMatching(/^tsvm: invalid platform 'linux\/a\/b\/c'.*\n/),
  });
  expect(build('FROM --platform=a/b/c/d scratch')).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/\ntsvm: failed to parse platform a\/b\/c\/d: invalid platform .*\n$/),
  });
  const many = Array.from({ length: 17 }, (_, i) => `linux/a${i}`).join(',');
  expect(build('FROM scratch', '--platform', many).stderr).toBe('tsvm: a build has at most 16 platforms\n');
});
