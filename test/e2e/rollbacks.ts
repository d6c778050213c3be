// Takes a container with a volume, a private network, a published port and a restart policy back to
// snapshots: while it is paused, while it is stopped, and to one whose machine fails late. Prints a
// line for each thing that it finds. Built to dist/rollbacks.js. Argument: an image with Perl.
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, messageOf } from '../../errors/index.js';
import { Container, Home, SnapshotStore } from '../../sandbox/index.js';

/** Answers each connection to port 7000 with what its file says. */
const SERVER = `use IO::Socket::INET;
  $server = IO::Socket::INET->new(LocalPort => 7000, Listen => 8, ReuseAddr => 1) or die "7000: $!\\n";
  while ($client = $server->accept) { open $file, '<', '/file'; print {$client} <$file>; close $client }`;
const ASK = 'exec 3<> /dev/tcp/server/7000 && cat <&3';
/** What it answers as soon as it does. */
const HEAR = `until ${ASK}; do sleep 0.2; done 2> /dev/null`;
/** The agent adds entropy by this file, which is one of all mounts of a devtmpfs. */
const BREAK = 'mount -t devtmpfs dev /mnt; rm /mnt/urandom; mknod /mnt/urandom c 1 3';

const [, , image = ''] = process.argv;
const home = new Home();
const name = `rollback-${randomBytes(6).toString('hex')}`;

/** The output of a command in a container, on one line. */
async function run(container: Container, ...command: string[]): Promise<string> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const said = Promise.all([text(stdout), text(stderr)]);
  const { exit } = await container.exec({ command, privileged: true }, { stdout, stderr });
  await exit;
  stdout.end();
  stderr.end();
  return (await said).join('').trim().split('\n').join(' ');
}

/** How an act ends. */
async function endOf(act: Promise<unknown>): Promise<string> {
  try {
    await act;
    return 'done';
  } catch (error) {
    return `${codeOf(error)}: ${messageOf(error).replace(/[0-9a-f]{12}/, 'ID')}`;
  }
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(5);
}

const say = (what: string, ...found: unknown[]) => console.log(`${what}: ${found.join(', ')}`);

const small = { image, memory: 64 * 2 ** 20, network: { mode: name } };
const made: Container[] = [];
home.networks.create(name);
try {
  const server = await Container.create(home, {
    ...small,
    name: `${name}-server`,
    command: ['perl', '-e', SERVER],
    disk: 32 * 2 ** 20,
    mounts: [{ type: 'volume', source: name, target: '/volume' }],
    network: { mode: name, aliases: ['server'], publish: ['127.0.0.1::7000'] },
    restart: { name: 'always' },
  });
  made.push(server);
  const peer = await Container.create(home, { ...small, name: `${name}-peer`, command: ['sleep', '1d'] });
  made.push(peer);
  await Promise.all([server.start(), peer.start()]);
  // Its program listens: only then do snapshots hold a server that answers.
  await run(peer, 'bash', '-c', HEAR);
  const { state } = server;
  const set = (value: string) => run(server, 'sh', '-c', `echo ${value} | tee /file > /volume/file`);
  const about = () => [server.state.status, server.state.restartCount];

  await set('before');
  await server.snapshot(`${name}-good`);
  await set('after');
  await server.pause();
  say('suspend of a paused one', await endOf(server.suspend()));
  say('snapshot of a paused one', await endOf(server.snapshot(`${name}-paused`)));
  say('rollback of a paused one', await endOf(server.rollback(`${name}-good`)), ...about());
  say('its files', await run(server, 'cat', '/file', '/volume/file'));
  say('its address', server.state.address === state.address ? 'the same' : 'another');
  say('its ports', server.state.ports?.length);
  say('its peer hears', await run(peer, 'bash', '-c', ASK));

  await set('later');
  const saving = endOf(server.snapshot(`${name}-late`));
  const isSaving = (folder: string) => existsSync(join(home.path, 'snapshots', folder, 'machine.new'));
  await until(() => readdirSync(join(home.path, 'snapshots')).some(isSaving));
  say('pause of one that is copied', await endOf(server.pause()), await saving);

  const back = endOf(server.rollback(`${name}-good`));
  await until(() => server.state.status === 'restarting');
  const exit = server.wait();
  await server.stop();
  say('rollback of one that is stopped meanwhile', await back, ...about(), await exit);
  await server.start();
  say('its files', await run(server, 'cat', '/file', '/volume/file'));

  await run(server, 'sh', '-c', BREAK);
  await server.snapshot(`${name}-broken`);
  await set('latest');
  const end = await endOf(server.rollback(`${name}-broken`));
  say('rollback that fails late', end.replace(/^(\w+: add entropy).*/, '$1'));
  await until(() => server.state.status === 'running');
  say('its restart', ...about(), await run(server, 'cat', '/file', '/volume/file'));
  say('its peer hears', await run(peer, 'bash', '-c', HEAR));
} finally {
  for (const container of made) await container.remove({ force: true });
  const snapshots = new SnapshotStore(home);
  for (const { name: of = '' } of snapshots.list()) if (of.startsWith(name)) await snapshots.remove(of);
  await home.volumes.remove(name);
  await home.networks.remove(name);
}
say('left', ...readdirSync(join(home.path, 'snapshots')));
