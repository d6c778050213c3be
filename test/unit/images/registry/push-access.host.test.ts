// Proves that a push finds credentials and certificates, asks for the rights that it needs, and
// leaves nothing where it is refused.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Certificates, makeCertificates } from '../../../fixtures/certificates.js';
import { startFaultyProxy } from '../../../fixtures/faulty-proxy.js';
import { Random } from '../../../fixtures/random.js';
import { type RunningRegistry, startRegistry } from '../../../fixtures/registry.js';
import { tar } from '../../../fixtures/tar-writer.js';
import { ISSUER, SERVICE, startTokenServer, type TokenServer } from '../../../fixtures/token-server.js';
import { failure } from '../failure.js';
import { inspected, made, pushFrom, tagsOf } from './push-scene.js';
import { newScene, someLayers, storeOf } from './scene.js';

const USER = 'me';
const PASSWORD = 'a secret: with a colon';
const CREDENTIALS = `--creds=${USER}:${PASSWORD}`;

const environment = { ...process.env };
let work: string;
let certificates: Certificates;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-push-access-'));
  certificates = makeCertificates(work);
});

beforeEach(() => {
  process.env.DOCKER_CONFIG = mkdtempSync(join(work, 'docker-'));
});

afterEach(() => {
  process.env = { ...environment };
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

function logIn(host: string, password = PASSWORD): void {
  const auth = Buffer.from(`${USER}:${password}`).toString('base64');
  writeFileSync(join(process.env.DOCKER_CONFIG!, 'config.json'), JSON.stringify({ auths: { [host]: { auth } } }));
}

/** Expects that a refused push has left nothing in a repository. */
function expectUntouched({ storage }: RunningRegistry, repository: string): void {
  expect(existsSync(join(storage, 'repositories', repository))).toBe(false);
}

describe('a registry with passwords', () => {
  let registry: RunningRegistry;

  beforeAll(async () => {
    const htpasswd = join(work, 'htpasswd');
    execFileSync('htpasswd', ['-Bbc', htpasswd, USER, PASSWORD], { stdio: 'pipe' });
    registry = await startRegistry(join(work, 'registry'), { htpasswd });
  });

  afterAll(() => registry[Symbol.asyncDispose]());

  test('takes a push with the password', async () => {
    const name = `${registry.host}/app:1`;
    const scene = await made(work, someLayers(), name);
    logIn(registry.host);
    const { digest } = await pushFrom(scene, name);
    expect((await inspected(name, CREDENTIALS)).Digest).toBe(digest);
  });

  test.each<[string, string | null, RegExp]>([
    ['no', null, /asks for a user name and a password: tsvm login 127\.0\.0\.1:\d+\)$/],
    ['a wrong', 'wrong', /refuses access[^\n]*\)$/],
  ])('refuses a push with %s password, in one line', async (_, password, why) => {
    const name = `${registry.host}/refused:1`;
    const scene = await made(work, someLayers(), name);
    if (password !== null) logIn(registry.host, password);
    const refused = pushFrom(scene, name);
    await expect(refused).rejects.toEqual(
      failure('unauthorized', /^push access denied for \S+\/refused: the repository may require 'tsvm login \S+'/),
    );
    await expect(refused).rejects.toThrow(why);
    expectUntouched(registry, 'refused');
    expect(scene.leftovers()).toEqual([]);
  });
});

describe('a registry with a token server', () => {
  let tokens: TokenServer;
  let registry: RunningRegistry;

  beforeAll(async () => {
    tokens = await startTokenServer(certificates, { [USER]: PASSWORD });
    const { realm } = tokens;
    const token = { realm, service: SERVICE, issuer: ISSUER, certificate: certificates.certificate };
    registry = await startRegistry(join(work, 'token-registry'), { token });
  });

  beforeEach(() => {
    tokens.requests.length = 0;
    tokens.life = 300;
    tokens.validity = 300;
    tokens.actions = ['pull', 'push'];
  });

  afterAll(async () => {
    await registry[Symbol.asyncDispose]();
    await tokens[Symbol.asyncDispose]();
  });

  test('gives one token with the rights to read and to write, used by all layers', async () => {
    const name = `${registry.host}/team/app:1`;
    const scene = await made(work, someLayers(), name);
    logIn(registry.host);
    const { digest } = await pushFrom(scene, name);
    expect(new Set(tokens.requests.map(({ scopes }) => scopes.join(' ')))).toEqual(
      new Set(['repository:team/app:pull,push']),
    );
    expect((await inspected(name, CREDENTIALS)).Digest).toBe(digest);
  });

  test('is asked for the other repository too where a layer is mounted', async () => {
    const [one, two] = [`${registry.host}/team/one:1`, `${registry.host}/team/two:1`];
    const scene = await made(work, someLayers(7), one);
    logIn(registry.host);
    await pushFrom(scene, one);
    await storeOf(scene).tag(one, two);
    tokens.requests.length = 0;
    expect((await pushFrom(scene, two)).phases).toEqual(['mounted', 'mounted', 'mounted']);
    expect(tokens.requests.flatMap(({ scopes }) => scopes)).toEqual(
      expect.arrayContaining(['repository:team/two:pull,push', 'repository:team/one:pull']),
    );
  });

  test.each([
    ['without credentials', false, ['pull', 'push']],
    ['of a user who may only read', true, ['pull']],
    ['of a user who may do nothing', true, []],
  ])('refuses a push %s, in one line', async (_, isUser, actions) => {
    const name = `${registry.host}/team/refused:1`;
    const scene = await made(work, someLayers(), name);
    if (isUser) logIn(registry.host);
    tokens.actions = actions;
    await expect(pushFrom(scene, name)).rejects.toEqual(
      failure(
        'unauthorized',
        /^push access denied for \S+\/team\/refused: the repository may require 'tsvm login \S+' \([^\n]*refuses access[^\n]*\)$/,
      ),
    );
    expectUntouched(registry, 'team/refused');
  });

  test('gives a new token when the old one expires in the middle of a layer', async () => {
    let held = 0;
    await using proxy = await startFaultyProxy(registry.host, {
      async hold({ method, headers }) {
        if (method !== 'PATCH' || held > 0 || headers['content-range']?.startsWith('0-') !== false) return;
        held = tokens.requests.length;
        // The token is good for 7 seconds, with the minute that the registry adds.
        await sleep(8500);
      },
    });
    const layer = tar([{ path: 'large', data: Buffer.alloc(20 << 20, new Random(3).bytes(65_537)) }]);
    const name = `${proxy.host}/team/expired:1`;
    const scene = await made(work, [layer], name);
    logIn(proxy.host);
    tokens.validity = -53;
    const { digest } = await pushFrom(scene, name);
    expect(held).toBeGreaterThan(0);
    expect(tokens.requests.length).toBeGreaterThan(held);
    tokens.validity = 300;
    expect((await inspected(`${registry.host}/team/expired:1`, CREDENTIALS)).Digest).toBe(digest);
  });

  test('that gives no more tokens ends a push, whose tag does not appear', async () => {
    let patches = 0;
    await using proxy = await startFaultyProxy(registry.host, {
      answer({ method, headers }) {
        if (method !== 'PATCH') return false;
        patches++;
        // The registry sees the token of a user whose rights have ended.
        delete headers.authorization;
        tokens.actions = ['pull'];
        return false;
      },
    });
    const name = `${proxy.host}/team/ended:1`;
    const scene = await made(work, someLayers(9), name);
    logIn(proxy.host);
    await expect(pushFrom(scene, name)).rejects.toEqual(failure('unauthorized', /^push access denied for [^\n]+$/));
    expect(patches).toBeGreaterThan(0);
    expect(tagsOf(registry, 'team/ended')).toEqual([]);
  });
});

describe('a registry with TLS', () => {
  let registry: RunningRegistry;

  beforeAll(async () => {
    registry = await startRegistry(join(work, 'tls-registry'), { tls: certificates });
  });

  afterAll(() => registry[Symbol.asyncDispose]());

  test('takes a push if the settings name its authority', async () => {
    const name = `${registry.host}/app:1`;
    const scene = await made(work, someLayers(), name);
    const settings = { [registry.host]: { ca: certificates.authority } };
    const { digest } = await pushFrom(scene, name, { settings });
    expect((await newScene(work).pull(name, { settings })).manifest).toBe(digest);
    expect((await inspected(name)).Digest).toBe(digest);
  });

  test('is sent nothing if its certificate has an unknown authority', async () => {
    const name = `${registry.host}/untrusted:1`;
    const scene = await made(work, someLayers(), name);
    await expect(pushFrom(scene, name)).rejects.toEqual(
      failure('network', /^cannot push \S+\/untrusted:1: the certificate of \S+ is not trusted: [^\n]+$/),
    );
    expectUntouched(registry, 'untrusted');
  });
});
