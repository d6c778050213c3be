// Proves that a pull finds credentials and certificates, sends passwords to no other host, and
// that login stores credentials safely.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { login, logout, registryHost } from '../../../../images/index.js';
import { type Certificates, makeCertificates } from '../../../fixtures/certificates.js';
import { startFaultyProxy } from '../../../fixtures/faulty-proxy.js';
import { type WrittenLayout, writeLayout } from '../../../fixtures/oci-layout.js';
import { type RunningRegistry, startRegistry } from '../../../fixtures/registry.js';
import { ISSUER, SERVICE, startTokenServer, type TokenServer } from '../../../fixtures/token-server.js';
import { failure } from '../failure.js';
import { expectNothing, newScene, push, skopeo, someLayers } from './scene.js';

const USER = 'me';
const PASSWORD = 'a secret: with a colon';

const environment = { ...process.env };
let work: string;
let layout: string;
let written: WrittenLayout;
let certificates: Certificates;
let dockerConfig: string;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-access-'));
  layout = join(work, 'layout');
  written = writeLayout(layout, someLayers());
  certificates = makeCertificates(work);
});

beforeEach(() => {
  dockerConfig = mkdtempSync(join(work, 'docker-'));
  process.env.DOCKER_CONFIG = dockerConfig;
});

afterEach(() => {
  process.env = { ...environment };
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

function writeConfig(config: object): void {
  writeFileSync(join(dockerConfig, 'config.json'), JSON.stringify(config));
}

function readConfig(): Record<string, Record<string, unknown>> {
  return JSON.parse(readFileSync(join(dockerConfig, 'config.json'), 'utf8'));
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/**
 * Installs a credential helper that stores credentials in a file. It is a real program, as Docker's
 * are.
 */
function installHelper(name: string, kept: object = {}): string {
  const folder = mkdtempSync(join(work, 'helper-'));
  const file = join(folder, 'kept.json');
  writeFileSync(file, JSON.stringify(kept));
  const program = join(folder, `docker-credential-${name}`);
  writeFileSync(
    program,
    `#!/usr/bin/env python3
import json, sys
path = ${JSON.stringify(file)}
kept = json.load(open(path))
asked = sys.stdin.read()
action = sys.argv[1]
if action == 'get':
    if asked not in kept:
        print('credentials not found in native keychain')
        sys.exit(1)
    print(json.dumps({'ServerURL': asked, 'Username': kept[asked][0], 'Secret': kept[asked][1]}))
elif action == 'store':
    entry = json.loads(asked)
    kept[entry['ServerURL']] = [entry['Username'], entry['Secret']]
elif action == 'erase':
    kept.pop(asked, None)
json.dump(kept, open(path, 'w'))
`,
  );
  chmodSync(program, 0o755);
  process.env.PATH = `${folder}${delimiter}${process.env.PATH}`;
  return file;
}

describe('a registry with passwords', () => {
  let registry: RunningRegistry;

  beforeAll(async () => {
    const htpasswd = join(work, 'htpasswd');
    execFileSync('htpasswd', ['-Bbc', htpasswd, USER, PASSWORD], { stdio: 'pipe' });
    registry = await startRegistry(join(work, 'registry'), { htpasswd });
    await push(layout, `${registry.host}/app:1`, `--dest-creds=${USER}:${PASSWORD}`);
  });

  afterAll(() => registry[Symbol.asyncDispose]());

  const pull = async () => {
    const scene = newScene(work);
    try {
      return (await scene.pull(`${registry.host}/app:1`)).digest;
    } catch (error) {
      expectNothing(scene);
      throw error;
    }
  };

  test('refuses a pull without credentials', async () => {
    await expect(pull()).rejects.toEqual(
      failure('unauthorized', /^pull access denied for .*app, repository does not exist or may require 'tsvm login /),
    );
  });

  test('refuses a pull with a wrong password', async () => {
    writeConfig({ auths: { [registry.host]: { auth: base64(`${USER}:wrong`) } } });
    await expect(pull()).rejects.toEqual(failure('unauthorized', /^pull access denied for /));
  });

  test.each<[string, (host: string) => object]>([
    ['as auth', (host) => ({ auths: { [host]: { auth: base64(`${USER}:${PASSWORD}`) } } })],
    ['as name and password', (host) => ({ auths: { [host]: { username: USER, password: PASSWORD } } })],
    ['under a URL', (host) => ({ auths: { [`http://${host}/v1/`]: { auth: base64(`${USER}:${PASSWORD}`) } } })],
    [
      'among others',
      (host) => ({ auths: { x: {}, [host]: { auth: base64(`${USER}:${PASSWORD}`) }, y: { auth: base64('y:y') } } }),
    ],
  ])('gets credentials from the configuration of Docker: %s', async (_, config) => {
    writeConfig(config(registry.host));
    expect(await pull()).toBe(written.imageId);
  });

  test.each<[string, unknown, RegExp]>([
    ['not JSON', '{', /config\.json is not JSON/],
    ['not an object', [], /cannot understand .*config\.json: it is not an object/],
    ['a wrong entry', { auths: { x: 5 } }, /the entry of x is not an object/],
    ['auth without a colon', { auths: { x: { auth: 'eA==' } } }, /auth of x is not NAME:PASSWORD/],
    ['a missing helper', { credsStore: 'nowhere' }, /docker-credential-nowhere failed: it is not in \$PATH/],
    ['a helper with a path for a name', { credsStore: '../../bin/sh' }, /failed: its name may only have letters/],
  ])('is not contacted if the configuration is invalid: %s', async (_, config, message) => {
    writeFileSync(join(dockerConfig, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
    await expect(pull()).rejects.toEqual(failure('bad-settings', message));
  });

  test('gets credentials from a helper for all servers or for one', async () => {
    installHelper('test', { [registry.host]: [USER, PASSWORD] });
    writeConfig({ credsStore: 'test' });
    expect(await pull()).toBe(written.imageId);
    writeConfig({ credsStore: 'nowhere', credHelpers: { [registry.host]: 'test' } });
    expect(await pull()).toBe(written.imageId);
  });

  test('refuses a pull if the helper has no credentials', async () => {
    installHelper('empty');
    writeConfig({ credsStore: 'empty' });
    await expect(pull()).rejects.toEqual(failure('unauthorized', /pull access denied/));
  });

  test('allows pulls after a login, until the logout', async () => {
    writeConfig({ detachKeys: 'ctrl-x', auths: { other: { auth: base64('a:b') } } });
    const file = await login(registry.host, USER, PASSWORD);
    expect(file).toBe(join(dockerConfig, 'config.json'));
    expect(readConfig()).toEqual({
      detachKeys: 'ctrl-x',
      auths: { other: { auth: base64('a:b') }, [registry.host]: { auth: base64(`${USER}:${PASSWORD}`) } },
    });
    expect(await pull()).toBe(written.imageId);
    expect(await logout(registry.host)).toBe(true);
    expect(readConfig()).toEqual({ detachKeys: 'ctrl-x', auths: { other: { auth: base64('a:b') } } });
    expect(await logout(registry.host)).toBe(false);
    await expect(pull()).rejects.toEqual(failure('unauthorized', /pull access denied/));
  });

  test('has its password stored in a private file, through a symbolic link', async () => {
    rmSync(dockerConfig, { recursive: true });
    await login(registry.host, USER, PASSWORD);
    expect(statSync(join(dockerConfig, 'config.json')).mode & 0o777).toBe(0o600);
    expect(statSync(dockerConfig).mode & 0o777).toBe(0o700);
    const real = join(work, 'real.json');
    writeFileSync(real, '', { mode: 0o640 });
    rmSync(join(dockerConfig, 'config.json'));
    symlinkSync(real, join(dockerConfig, 'config.json'));
    await login(registry.host, USER, PASSWORD);
    expect(Object.keys(JSON.parse(readFileSync(real, 'utf8')).auths)).toEqual([registry.host]);
    expect(statSync(real).mode & 0o777).toBe(0o640);
  });

  test('has its password stored in the configured helper', async () => {
    const kept = installHelper('keeper');
    writeConfig({ credsStore: 'keeper' });
    expect(await login(registry.host, USER, PASSWORD)).toBe(null);
    expect(readConfig()).toEqual({ credsStore: 'keeper', auths: { [registry.host]: {} } });
    expect(JSON.parse(readFileSync(kept, 'utf8'))).toEqual({ [registry.host]: [USER, PASSWORD] });
    expect(await pull()).toBe(written.imageId);
    await logout(registry.host);
    expect(readConfig()).toEqual({ credsStore: 'keeper', auths: {} });
    expect(JSON.parse(readFileSync(kept, 'utf8'))).toEqual({});
  });

  test('refuses a login with a wrong password, and nothing is stored', async () => {
    await expect(login(registry.host, USER, 'wrong')).rejects.toEqual(failure('unauthorized', /refuses access/));
    expect(() => readConfig()).toThrow(/ENOENT/);
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
    for (const name of ['private/app:1', 'public/app:1']) {
      await push(layout, `${registry.host}/${name}`, `--dest-creds=${USER}:${PASSWORD}`);
    }
  });

  beforeEach(() => {
    tokens.requests.length = 0;
    tokens.life = 300;
    tokens.redirect = null;
  });

  afterAll(async () => {
    await registry[Symbol.asyncDispose]();
    await tokens[Symbol.asyncDispose]();
  });

  test('allows a public pull without credentials, with one token', async () => {
    expect((await newScene(work).pull(`${registry.host}/public/app:1`)).digest).toBe(written.imageId);
    expect(tokens.requests).toEqual([{ scopes: ['repository:public/app:pull'], user: '' }]);
  });

  test('allows a private pull with credentials only', async () => {
    const scene = newScene(work);
    await expect(scene.pull(`${registry.host}/private/app:1`)).rejects.toEqual(
      failure('unauthorized', /access denied/),
    );
    expectNothing(scene);
    writeConfig({ auths: { [registry.host]: { auth: base64(`${USER}:${PASSWORD}`) } } });
    expect((await scene.pull(`${registry.host}/private/app:1`)).digest).toBe(written.imageId);
    expect(tokens.requests.at(-1)).toEqual({ scopes: ['repository:private/app:pull'], user: USER });
  });

  test('gets a new token once the old one has expired', async () => {
    tokens.life = 1;
    expect((await newScene(work).pull(`${registry.host}/public/app:1`)).digest).toBe(written.imageId);
    expect(tokens.requests.length).toBeGreaterThan(1);
  });

  test('accepts an identity token in place of a password', async () => {
    writeConfig({ auths: { [registry.host]: { identitytoken: tokens.identityToken } } });
    expect((await newScene(work).pull(`${registry.host}/private/app:1`)).digest).toBe(written.imageId);
    writeConfig({ auths: { [registry.host]: { identitytoken: 'another' } } });
    await expect(newScene(work).pull(`${registry.host}/private/app:1`)).rejects.toEqual(
      failure('unauthorized', /access denied.*refuses a token: incorrect username or password/),
    );
  });

  test('has logins checked by its token server', async () => {
    await expect(login(registry.host, USER, 'wrong')).rejects.toEqual(failure('unauthorized', /refuses a token/));
    await login(registry.host, USER, PASSWORD);
    expect(Object.keys(readConfig().auths!)).toEqual([registry.host]);
    expect((await newScene(work).pull(`${registry.host}/private/app:1`)).digest).toBe(written.imageId);
  });

  test('gets no password sent to another host by a redirect of its token server', async () => {
    await using elsewhere = await startFaultyProxy('127.0.0.1:9', {
      answer: (_, response) => {
        response.writeHead(200).end('{"token":"x"}');
        return true;
      },
    });
    tokens.redirect = `http://${elsewhere.host}/token`;
    writeConfig({ auths: { [registry.host]: { auth: base64(`${USER}:${PASSWORD}`) } } });
    await expect(newScene(work).pull(`${registry.host}/private/app:1`)).rejects.toEqual(
      failure('unauthorized', /access denied/),
    );
    expect(elsewhere.requests.length).toBeGreaterThan(0);
    expect(elsewhere.requests.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
  });

  test.each([
    ['without TLS', 'Bearer realm="http://192.0.2.1/token"', /192\.0\.2\.1 is not trusted: its URL is not https/],
    ['without a URL', 'Bearer service="x"', /names no token server/],
    ['of an unknown scheme', 'Negotiate', /asks for an authentication scheme that tsvm lacks/],
  ])('cannot send us to a token server %s', async (_, challenge, message) => {
    await using proxy = await startFaultyProxy(registry.host, {
      answer: (_request, response) => {
        response.writeHead(401, { 'www-authenticate': challenge }).end();
        return true;
      },
    });
    const scene = newScene(work);
    await expect(scene.pull(`${proxy.host}/public/app:1`)).rejects.toEqual(
      expect.objectContaining({ name: 'ImageError', message: expect.stringMatching(message) }),
    );
    expectNothing(scene);
  });
});

describe('a registry with TLS', () => {
  let registry: RunningRegistry;
  let name: string;

  beforeAll(async () => {
    registry = await startRegistry(join(work, 'tls-registry'), { tls: certificates });
    name = `${registry.host}/app:1`;
    await skopeo(`oci:${layout}`, `docker://${name}`, '--dest-tls-verify=false');
  });

  afterAll(() => registry[Symbol.asyncDispose]());

  test('is not trusted if its certificate has an unknown authority', async () => {
    const scene = newScene(work);
    await expect(scene.pull(name)).rejects.toEqual(failure('network', /certificate of .* is not trusted/));
    expectNothing(scene);
  });

  test('is trusted if the settings name its authority', async () => {
    const settings = { [registry.host]: { ca: certificates.authority } };
    expect((await newScene(work).pull(name, { settings })).digest).toBe(written.imageId);
  });

  test('is trusted without a check if the settings say insecure', async () => {
    const settings = { [registry.host]: { insecure: true } };
    expect((await newScene(work).pull(name, { settings })).digest).toBe(written.imageId);
  });

  test('gets its settings from the file of settings', async () => {
    const folder = join(work, 'config/tsvm');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'registries.json'), JSON.stringify({ [registry.host]: { ca: '../../ca.crt' } }));
    process.env.XDG_CONFIG_HOME = join(work, 'config');
    await login(registry.host, 'any', 'one');
    process.env.TSVM_REGISTRIES = join(work, 'nowhere.json');
    await expect(login(registry.host, 'any', 'one')).rejects.toEqual(failure('bad-settings', /nowhere\.json/));
  });

  test.each([
    ['missing', 'nowhere.crt'],
    ['not certificates', 'layout/oci-layout'],
  ])('is not contacted if its configured certificates are %s', async (_, file) => {
    const settings = { [registry.host]: { ca: join(work, file) } };
    await expect(newScene(work).pull(name, { settings })).rejects.toEqual(
      failure('bad-settings', /cannot use the certificates in/),
    );
  });
});

describe('a registry to log in to', () => {
  test.each([
    [undefined, 'docker.io'],
    ['docker.io', 'docker.io'],
    ['https://index.docker.io/v1/', 'docker.io'],
    ['registry.example', 'registry.example'],
    ['https://registry.example:5000/v2/', 'registry.example:5000'],
    ['[::1]:5000', '[::1]:5000'],
  ])('may be a host, a host with a port, or a URL: %s', (server, host) => {
    expect(registryHost(server)).toBe(host);
  });

  test.each(['', 'a b', 'host:port', 'user@host'])('must be a host: %j', (server) => {
    expect(() => registryHost(server)).toThrow(/invalid registry/);
  });
});
