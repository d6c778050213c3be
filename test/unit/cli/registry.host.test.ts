// The commands that use registries, against a real one.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type WrittenLayout, writeLayout } from '../../fixtures/oci-layout.js';
import { type RunningRegistry, startRegistry } from '../../fixtures/registry.js';
import { tar } from '../../fixtures/tar-writer.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

let folder: string;
let registry: RunningRegistry;
let written: WrittenLayout;
let name: string;
let environment: NodeJS.ProcessEnv;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-cli-registry-'));
  const htpasswd = join(folder, 'htpasswd');
  execFileSync('htpasswd', ['-Bbc', htpasswd, 'me', 'secret'], { stdio: 'pipe' });
  registry = await startRegistry(join(folder, 'registry'), { htpasswd });
  const layers = [tar([{ path: 'a', data: 'a'.repeat(5000) }]), tar([{ path: 'b', data: 'b' }])];
  written = writeLayout(join(folder, 'layout'), layers);
  name = `${registry.host}/app:1`;
  const options = ['--dest-tls-verify=false', '--dest-creds=me:secret'];
  execFileSync('skopeo', ['copy', ...options, `oci:${folder}/layout`, `docker://${name}`], { stdio: 'pipe' });
});

beforeEach(() => {
  const own = mkdtempSync(join(folder, 'test-'));
  mkdirSync(join(own, 'runtime'), { mode: 0o700 });
  environment = {
    ...process.env,
    TSVM_HOME: join(own, 'home'),
    DOCKER_CONFIG: join(own, 'docker'),
    XDG_RUNTIME_DIR: join(own, 'runtime'),
  };
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function tsvm(args: string[], input = '') {
  const { status, stdout, stderr } = spawnSync(TSVM, args, { encoding: 'utf8', input, env: environment });
  return { status, stdout, stderr };
}

function login() {
  return tsvm(['login', '-u', 'me', '--password-stdin', registry.host], 'secret\n');
}

test('login gives pull access, until logout', () => {
  const refused = tsvm(['pull', name]);
  expect(refused).toEqual({
    status: 125,
    stdout: '',
    stderr: expect.stringMatching(/^tsvm: pull access denied for \S+, .*'tsvm login 127\.0\.0\.1:\d+' [^\n]*\n$/),
  });
  expect(login()).toEqual({
    status: 0,
    stdout: 'Login Succeeded\n',
    stderr: expect.stringMatching(/^tsvm: warning: the password is stored unencrypted in \S+config\.json/),
  });
  expect(tsvm(['pull', '-q', name])).toEqual({ status: 0, stdout: `${name}\n`, stderr: '' });
  expect(tsvm(['logout', registry.host]).stdout).toBe(`Removing login credentials for ${registry.host}\n`);
  expect(tsvm(['logout', registry.host]).stdout).toBe(`Not logged in to ${registry.host}\n`);
  expect(tsvm(['pull', name]).status).toBe(125);
});

test('pull reports what it does, and that an image is up to date', () => {
  login();
  const short = written.layerDigests.map((digest) => digest.slice(7, 19));
  const { status, stdout, stderr } = tsvm(['pull', name]);
  expect({ status, stdout }).toEqual({
    status: 0,
    stdout: `Digest: ${written.manifestDigest}\nStatus: Downloaded newer image for ${name}\n${name}\n`,
  });
  for (const id of short)
    expect(stderr).toMatch(new RegExp(`^${id}: Pulling \\d+B\\n(.*\\n)*${id}: Download complete$`, 'm'));
  expect(tsvm(['pull', name])).toEqual({
    status: 0,
    stdout: `Digest: ${written.manifestDigest}\nStatus: Image is up to date for ${name}\n${name}\n`,
    stderr: '',
  });
  expect(tsvm(['images', '-q', '--no-trunc']).stdout).toBe(`${written.imageId}\n`);
});

test('pull by digest makes an image that its digest finds', () => {
  login();
  const byDigest = `${registry.host}/app@${written.manifestDigest}`;
  expect(tsvm(['pull', '-q', byDigest]).stdout).toBe(`${byDigest}\n`);
  expect(tsvm(['images', '--digests']).stdout).toContain(`${registry.host}/app   <none>   ${written.manifestDigest}`);
  const inspected = JSON.parse(tsvm(['inspect', byDigest]).stdout)[0];
  expect(inspected).toMatchObject({ Id: written.imageId, RepoTags: [], RepoDigests: [byDigest] });
  expect(tsvm(['rmi', byDigest]).stdout).toContain(`Untagged: ${byDigest}\n`);
  expect(tsvm(['images', '-q']).stdout).toBe('');
});

test.each<[string, string[], string, RegExp]>([
  ['a wrong password', ['login', '-u', 'me', '--password-stdin', 'HOST'], 'wrong', /refuses access/],
  ['no name', ['login', '--password-stdin', 'HOST'], 'secret', /--password-stdin needs --username/],
  ['two passwords', ['login', '-u', 'me', '-p', 'x', '--password-stdin', 'HOST'], '', /mutually exclusive/],
  ['an empty password', ['login', '-u', 'me', '--password-stdin', 'HOST'], '', /the password is empty/],
  ['a prompt without a terminal', ['login', 'HOST'], '', /without a terminal/],
  ['an invalid registry', ['login', '-u', 'me', '--password-stdin', 'a b'], 'x', /invalid registry 'a b'/],
  ['nothing to pull', ['pull'], '', /missing required argument/],
  ['pulling a file', ['pull', 'oci:layout'], '', /oci:layout is not the name of an image in a registry/],
  ['a bad platform', ['pull', '--platform', '/', 'HOST/app:1'], '', /invalid platform '\/'/],
  ['an unreachable registry', ['pull', '127.0.0.1:9/app'], '', /cannot pull 127\.0\.0\.1:9\/app:latest: cannot reach/],
])('one line reports %s', (_, args, input, message) => {
  const { status, stdout, stderr } = tsvm(
    args.map((word) => word.replace('HOST', registry.host)),
    input,
  );
  const said = stderr.replace(/^tsvm: warning: other users can see --password[^\n]*\n/, '');
  expect({ status, stdout, said }).toEqual({ status: 125, stdout: '', said: expect.stringMatching(message) });
  expect(said).toMatch(/^tsvm: [^\n]+\n(See 'tsvm[^\n]* --help'\.\n)?$/);
});

test('login asks at a terminal, and does not show the password', async () => {
  const child = spawn('script', ['-qefc', `${TSVM} login ${registry.host}`, '/dev/null'], { env: environment });
  const answers = [
    { question: 'Username: ', answer: 'me\r' },
    { question: 'Password: ', answer: 'secret\r' },
  ];
  let said = '';
  for await (const chunk of child.stdout) {
    said += chunk;
    const [next] = answers;
    if (next === undefined || !said.includes(next.question)) continue;
    child.stdin.write(next.answer);
    answers.shift();
  }
  expect(said).toContain('Login Succeeded');
  expect(said).not.toContain('secret');
  const { auths } = JSON.parse(readFileSync(join(environment.DOCKER_CONFIG!, 'config.json'), 'utf8'));
  expect(auths).toEqual({ [registry.host]: { auth: Buffer.from('me:secret').toString('base64') } });
});

test('run asks the registry only as --pull says', () => {
  const run = (...words: string[]) => tsvm(['run', '--kernel', TSVM, ...words, name]);
  expect(run('--pull', 'never').stderr).toBe(`tsvm: No such image: ${name}\n`);
  expect(run('--pull', 'missing').stderr).toMatch(/^Unable to find image '\S+' locally\ntsvm: pull access denied/);
  expect(run('--pull', 'always', '--quiet').stderr).toMatch(/^tsvm: pull access denied/);
  expect(run('--platform', 'linux/arm64').stderr).toMatch(
    /^tsvm: containers for linux\/arm64 cannot run on this machine\n$/,
  );
});
