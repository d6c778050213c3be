// tsvm build --ssh: OpenSSH and git in a RUN, and ADD, use keys of this host's agents, which do not
// leave it.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SshAgents } from '../../build/ssh/agents.js';
import { openStore } from '../../images/index.js';
import { clientImage } from '../fixtures/debian-images.js';
import { type Result, run, TSVM, uml } from './machine.js';

const NAME = 'built';
/** Has OpenSSH's server, and git. */
const IMAGE = 'clients:1';

/** Has the context, the keys, and a home of these builds alone. */
let folder: string;
let home: string;
let context: string;
let keys: { deploy: string; other: string };

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-build-ssh-');
  home = join(folder, 'home');
  context = join(folder, 'context');
  mkdirSync(context);
  const store = openStore(home);
  await store.tag((await store.resolve(`oci:${clientImage()}:clients`)).digest, IMAGE);
  keys = { deploy: makeKey('deploy'), other: makeKey('other') };
  writeFileSync(join(context, 'authorized_keys'), readFileSync(`${keys.deploy}.pub`));
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function makeKey(name: string): string {
  const path = join(folder, name);
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', path]);
  return path;
}

/** A line of `ssh-add -l`. */
function fingerprint(key: string): string {
  return execFileSync('ssh-keygen', ['-lf', `${key}.pub`], { encoding: 'utf8' });
}

function tsvm(words: readonly string[], env: Record<string, string> = {}): Promise<Result> {
  return run(uml, [TSVM, ...words], { env: { TSVM_HOME: home, ...env } });
}

function build(dockerfile: string, words: readonly string[], env: Record<string, string> = {}): Promise<Result> {
  writeFileSync(join(context, 'Dockerfile'), dockerfile);
  return tsvm(['build', '-t', NAME, ...words, context], env);
}

/** A repository whose server lets the deploy key in. */
const SERVER = `FROM ${IMAGE}
COPY authorized_keys /root/.ssh/
RUN <<EOF
set -e
chmod -R go= /root/.ssh
mkdir -p /run/sshd
git config --global user.name a
git config --global user.email a@b
git init -q -b main /srv/r
echo private > /srv/r/file
git -C /srv/r add file
git -C /srv/r commit -q -m first
EOF
`;

const CLIENTS = `${SERVER}
RUN --mount=type=ssh --mount=type=ssh,id=none --mount=type=ssh,id=more,target=/more/agent,mode=0660,uid=1,gid=2 <<EOF
set -e
{
  echo $SSH_AUTH_SOCK
  stat -c '%n %F %a %u %g' /run/buildkit/* /more/agent
  ls -A /.tsvm-build
  ssh-add -l
  SSH_AUTH_SOCK=/more/agent setpriv --reuid=1 --clear-groups ssh-add -l
} > /said
! ssh-add -q -D 2> /dev/null
! ssh-add -q /etc/ssh/ssh_host_ed25519_key 2> /dev/null
! setpriv --reuid=1 --clear-groups ssh-add -l 2> /dev/null
/usr/sbin/sshd -o ListenAddress=127.0.0.1 -o MaxStartups=64
echo "127.0.0.1 $(cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub)" > /root/.ssh/known_hosts
git clone -q ssh://root@127.0.0.1/srv/r /cloned
for n in $(seq 24); do ssh -o BatchMode=yes root@127.0.0.1 echo $n > /numbers.$n & done
wait
sort -n /numbers.* | tr '\\n' ' ' >> /said
rm /numbers.*
EOF
RUN { find /run/buildkit /more /.tsvm-build; echo "\${SSH_AUTH_SOCK-none}"; } > /left 2> /dev/null
CMD cat /said /cloned/file /left
`;

test('a RUN lists the keys of agents, logs in and clones with them, and nothing of them stays', async () => {
  const started = join(folder, 'started');
  writeFileSync(started, '');
  const own = new Map([['own', { keys: [keys.deploy] as const }]]);
  await using agents = await SshAgents.open(own, new AbortController().signal);
  const socket = agents.socketOf('own')!;
  const words = ['--ssh', 'default', '--ssh', `more=${keys.other}`, '--progress', 'rawjson'];
  const first = await build(CLIENTS, words, { SSH_AUTH_SOCK: socket });
  expect({ code: first.code, stderr: first.code === 0 ? '' : first.stderr }).toEqual({ code: 0, stderr: '' });
  const numbers = Array.from({ length: 24 }, (_, index) => `${index + 1} `).join('');
  const listed = fingerprint(keys.deploy) + fingerprint(keys.other);
  expect(await tsvm(['run', '--rm', NAME])).toMatchObject({
    code: 0,
    stdout: `/run/buildkit/ssh_agent.0
/run/buildkit/ssh_agent.0 socket 600 0 0
/more/agent socket 660 1 2
${listed}${numbers}private
none
`,
  });
  const env = { ...process.env, SSH_AUTH_SOCK: socket };
  expect(execFileSync('ssh-add', ['-l'], { env, encoding: 'utf8' })).toBe(fingerprint(keys.deploy));

  // Other agents, or none: the step is the same.
  const again = await build(CLIENTS, ['--ssh', `default=${keys.other}`, '--ssh', `more=${keys.deploy}`]);
  expect(again).toMatchObject({ code: 0, stdout: first.stdout });
  expect(again.stderr.match(/^#\d+ CACHED$/gm)).toHaveLength(4);
  const without = await build(CLIENTS, []);
  expect(without).toMatchObject({ code: 0, stdout: first.stdout });

  const history = await tsvm(['history', '--no-trunc', NAME]);
  const search = 'find -H "$0" "$0"/* -newer "$1" -type f -exec grep -laF -e "$2" -e "$3" {} +';
  const found = (...texts: string[]) => run(uml, ['sh', '-c', search, home, started, ...texts]);
  for (const key of [keys.deploy, keys.other]) {
    const secret = readFileSync(key, 'utf8').split('\n')[2]!;
    expect(first.stderr + again.stderr + history.stdout).not.toContain(secret);
    expect((await found(secret, socket)).stdout).toBe('');
  }
  // What the commands wrote themselves is found.
  expect((await found(fingerprint(keys.deploy).trim(), fingerprint(keys.other).trim())).stdout).not.toBe('');
});

test('a RUN that needs an agent does not begin without it', async () => {
  const { code, stderr } = await build(`FROM ${IMAGE}\nRUN --mount=type=ssh,id=deploy,required true`, []);
  expect(code).toBe(1);
  expect(stderr).toContain('tsvm: no SSH key "deploy" forwarded from the client: give it by --ssh');
});

test('ADD copies a repository of a server that is known, with a key of the agent alone', async () => {
  expect(await build(SERVER, [])).toMatchObject({ code: 0 });
  const words = ['run', '-d', '-p', '127.0.0.1::22', NAME, '/usr/sbin/sshd', '-D', '-e'];
  const id = (await tsvm(words)).stdout.trim();
  try {
    const inside = (...command: string[]) => tsvm(['exec', id, ...command]);
    await inside('sh', '-c', 'until ssh-keyscan 127.0.0.1 2> /dev/null | grep -q .; do sleep 0.05; done');
    const { stdout: hostKey } = await inside('cut', '-d', ' ', '-f', '1,2', '/etc/ssh/ssh_host_ed25519_key.pub');
    const host = (await tsvm(['port', id, '22'])).stdout.trim();
    const url = `ssh://root@${host}/srv/r`;
    const settings = join(folder, 'registries.json');
    const user = join(folder, 'a user');
    mkdirSync(join(user, '.ssh'), { recursive: true });
    // The agent has the key that counts, not this file.
    writeFileSync(join(user, '.ssh/config'), `Host *\n  IdentityFile ${keys.deploy}\n`);
    writeFileSync(join(context, 'Dockerfile'), `FROM scratch\nADD ${url} /\n`);
    const archive = join(folder, 'added.tar');
    const add = (key?: string) =>
      tsvm(
        [
          'build',
          '-q',
          '-o',
          `type=tar,dest=${archive}`,
          ...(key === undefined ? [] : ['--ssh', `default=${key}`]),
          context,
        ],
        { HOME: user, TSVM_REGISTRIES: settings },
      );

    writeFileSync(settings, '{}');
    expect((await add(keys.deploy)).stderr).toContain(
      '127.0.0.1 is not on the public Internet: see docs/registries.md',
    );
    writeFileSync(settings, JSON.stringify({ [host]: { internal: true } }));
    expect((await add()).stderr).toContain(
      `cannot fetch ${url}: no SSH key "default" forwarded from the client: give it by --ssh`,
    );
    expect((await add(keys.deploy)).stderr).toContain(`cannot fetch ${url}: Host key verification failed.`);
    writeFileSync(join(user, '.ssh/known_hosts'), `${host.replace(/^(.*):/, '[$1]:')} ${hostKey}`);
    expect((await add(keys.other)).stderr).toContain('Permission denied (publickey');
    expect(await add(keys.deploy)).toMatchObject({ code: 0, stderr: '' });
    expect(execFileSync('tar', ['-xOf', archive, 'file'], { encoding: 'utf8' })).toBe('private\n');
  } finally {
    await tsvm(['rm', '-f', id]);
  }
});
