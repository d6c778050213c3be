// A context at a URL gives the image that its folder would give. A server that is hostile, silent or
// gone ends the build with one line and leaves nothing.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { finished } from '../images/bundle.js';
import { tar } from './archive.js';
import { Workshop } from './made.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));
const DOCKERFILE = 'FROM scratch\nCOPY . /\n';
const ARCHIVE = gzipSync(
  tar(
    { path: 'Dockerfile', text: DOCKERFILE },
    { path: 'other', text: 'FROM scratch\nCOPY a /other\n' },
    { path: '.dockerignore', text: '*\n!a\n' },
    { path: 'a', text: 'A' },
  ),
);

let shop: Workshop;
let server: Server;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let host: string;

beforeEach(async () => {
  shop = new Workshop();
  server = createServer((request, response) => answer(request, response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
  shop[Symbol.dispose]();
});

function start(words: readonly string[], input = '') {
  const env = { ...process.env, TSVM_HOME: shop.home.path, SOURCE_DATE_EPOCH: '1' };
  const child = spawn(TSVM, ['build', '-q', ...words], { env, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.end(input);
  return child;
}

const tsvm = (words: readonly string[], input = '') => finished(start(words, input));

const gives = (body: Buffer | string) => (_: IncomingMessage, response: ServerResponse) => void response.end(body);

async function filesOf(words: readonly string[], input = ''): Promise<string[]> {
  expect(await tsvm(['-t', 'made', ...words], input)).toMatchObject({ code: 0, stderr: '' });
  return await (await shop.open('made')).files();
}

test('an archive is the context, with its Dockerfile and its .dockerignore', async () => {
  answer = gives(ARCHIVE);
  const url = `http://${host}/x.tar.gz`;
  expect(await filesOf([url])).toEqual(['644 0:0 /a "A"']);
  expect(await filesOf(['-f', 'other', url])).toEqual(['644 0:0 /other "A"']);
  expect(await filesOf(['-f', '-', url], 'FROM scratch\nCOPY a /stdin\n')).toEqual(['644 0:0 /stdin "A"']);
});

test('a text is the Dockerfile, without a context', async () => {
  answer = gives('FROM scratch\nCOPY <<b /a\nB\nb\n');
  expect(await filesOf([`http://${host}/Dockerfile`])).toEqual(['644 0:0 /a "B\\n"']);
  answer = gives(DOCKERFILE.replace('.', 'a'));
  expect(await tsvm([`http://${host}/Dockerfile`])).toMatchObject({ code: 1, stdout: '' });
});

test('a redirect is followed, and does not get the name and the password', async () => {
  const seen: (string | undefined)[] = [];
  answer = (request, response) => {
    seen.push(request.headers.authorization);
    if (request.url === '/x') return response.writeHead(200).end(ARCHIVE);
    response.writeHead(302, { location: `http://${host}/x` }).end();
  };
  expect(await filesOf([`http://me:secret@${host}/`])).toEqual(['644 0:0 /a "A"']);
  expect(seen).toEqual([`Basic ${Buffer.from('me:secret').toString('base64')}`, undefined]);
});

test('a download that breaks begins again', async () => {
  let breaks = 2;
  answer = (_, response) => {
    response.writeHead(200, { 'content-length': ARCHIVE.length });
    if (breaks-- > 0) response.write(ARCHIVE.subarray(0, 100), () => response.destroy());
    else response.end(ARCHIVE);
  };
  expect(await filesOf([`http://${host}/x`])).toEqual(['644 0:0 /a "A"']);
  expect(breaks).toBe(-1);
});

test.each<[string, (response: ServerResponse) => void, RegExp]>([
  ['a status', (response) => response.writeHead(404).end(), /^tsvm: cannot download http:\/\/\S+\/x: .*status 404$/],
  [
    'a circle of redirects',
    (response) => response.writeHead(302, { location: '/x' }).end(),
    /^tsvm: cannot download http:\/\/\S+\/x: \S+ redirects more than 10 times$/,
  ],
  [
    'a redirect to a file',
    (response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    /^tsvm: cannot download .* redirects to null, which is not of https$/,
  ],
  [
    'a length that is too large',
    (response) => response.writeHead(200, { 'content-length': String(2 ** 40) }).write('x'),
    /^tsvm: cannot download .* sends more than 68719476736 bytes$/,
  ],
  [
    'an archive that is cut short',
    (response) => response.end(ARCHIVE.subarray(0, 100)),
    /^tsvm: cannot read the context: /,
  ],
  ['a text that is too long', (response) => response.end('#'.repeat((4 << 20) + 1)), /^tsvm: the Dockerfile exceeds /],
])('%s is one line, and leaves nothing', async (_, send, message) => {
  answer = (_request, response) => void send(response);
  const { code, stdout, stderr } = await tsvm([`http://me:secret@${host}/x`]);
  expect({ code, stdout, lines: stderr.trimEnd().split('\n') }).toEqual({
    ...{ code: 1, stdout: '', lines: [expect.stringMatching(message)] },
  });
  expect(stderr).not.toContain('secret');
  const tmp = join(shop.home.path, 'store-2/tmp');
  expect(existsSync(tmp) ? readdirSync(tmp) : []).toEqual([]);
});

test.each([
  ['https://example.com/x#main:folder'],
  ['https://example.com/x.git?ref=main'],
  ['ftp://example.com/x'],
  ['ext://example.com/x'],
])('%s is refused', async (context) => {
  const { code, stderr } = await tsvm([context]);
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/^tsvm: a context is a folder, -, a URL of http or https, or a repository: /m);
});

test('a Dockerfile at a URL and another one are refused', async () => {
  answer = gives(DOCKERFILE);
  expect((await tsvm(['-f', 'Dockerfile', `http://${host}/x`])).stderr).toMatch(
    /^tsvm: ambiguous Dockerfile source: both the URL and flag correspond to Dockerfiles\n/,
  );
});

test('a signal ends the wait for a silent server', async () => {
  const asked = new Promise<void>((resolve) => {
    answer = () => resolve();
  });
  const child = start([`http://${host}/x`]);
  const end = finished(child);
  await asked;
  child.kill('SIGINT');
  expect(await end).toMatchObject({ code: 130, stdout: '', stderr: 'tsvm: ended by SIGINT\n' });
});

describe('a named context at a URL', () => {
  const named = (name: string, path = '/x') => ['--build-context', `${name}=http://${host}${path}`, shop.context];

  test('is the files of its archive, without what its .dockerignore names', async () => {
    answer = gives(ARCHIVE);
    shop.write({ Dockerfile: 'FROM scratch\nCOPY own /own\nCOPY --from=src . /from/', own: 'O' });
    expect(await filesOf(named('src'))).toEqual(['755 0:0 /from/', '644 0:0 /from/a "A"', '644 0:0 /own "O"']);
    shop.write({ Dockerfile: 'FROM src\nCOPY own /own' });
    expect(await filesOf(named('src'))).toEqual(['644 0:0 /a "A"', '644 0:0 /own "O"']);
  });

  test('is in the cache by its contents', async () => {
    answer = gives(ARCHIVE);
    shop.write({ Dockerfile: 'FROM src' });
    const first = await tsvm(named('src'));
    expect(await tsvm(named('src', '/elsewhere'))).toEqual(first);
    answer = gives(gzipSync(tar({ path: 'a', text: 'B' })));
    expect((await tsvm(named('src'))).stdout).not.toBe(first.stdout);
  });

  test.each<[string, () => void, RegExp]>([
    [
      'a text',
      () => (answer = gives('FROM scratch\n')),
      /^tsvm: a named context at a URL is an archive, or a repository\n$/,
    ],
    [
      'a status',
      () => (answer = (_, response) => response.writeHead(404).end()),
      /^tsvm: cannot download [^\n]*404\n$/,
    ],
    ['half an archive', () => (answer = gives(ARCHIVE.subarray(0, 100))), /^tsvm: cannot read the context: [^\n]*\n$/],
  ])('that gives %s is refused, and leaves nothing', async (_, give, message) => {
    give();
    shop.write({ Dockerfile: 'FROM scratch\nCOPY --from=src . /' });
    expect(await tsvm(named('src'))).toEqual({ code: 1, stdout: '', stderr: expect.stringMatching(message) });
    const tmp = join(shop.home.path, 'store-2/tmp');
    expect(existsSync(tmp) ? readdirSync(tmp) : []).toEqual([]);
  });

  test('that is silent is left at a signal, and leaves nothing of the others', async () => {
    shop.write({ Dockerfile: 'FROM scratch' });
    const asked = new Promise<void>((resolve) => {
      answer = (request, response) => void (request.url === '/x' ? response.end(ARCHIVE) : resolve());
    });
    const child = start([...named('one').slice(0, 2), ...named('two', '/silent')]);
    const end = finished(child);
    await asked;
    child.kill('SIGINT');
    expect(await end).toMatchObject({ code: 130, stdout: '', stderr: 'tsvm: ended by SIGINT\n' });
    expect(readdirSync(join(shop.home.path, 'store-2/tmp'))).toEqual([]);
  });
});
