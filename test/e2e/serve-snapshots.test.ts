// Snapshots and forks of sandboxes of tsvm serve, by /v1, tsvm sandbox and the unmodified client of E2B.
// They need KVM: elsewhere they are refused.
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { DEBIAN, isLab, machines, run, TSVM, uml } from './machine.js';
import { script } from './script.js';
import { Served } from './served.js';

const E2B = fileURLToPath(import.meta.resolve('e2b'));

/**
 * Asks the server at the first argument with the keys that are the next two, and prints what it says.
 * The rest are the program and the data folder.
 */
const ASKING = `
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { Sandbox } from '${E2B.replace(/\.js$/, '.mjs')}';
const [url, key, otherKey, tsvm, data] = process.argv.slice(1);
const askAs = async (key, method, path, body) => {
  // A command blocks this process for longer than the server keeps a connection.
  const headers = { Authorization: 'Bearer ' + key, 'Content-Type': 'application/json', Connection: 'close' };
  const answer = await fetch(url + '/v1/' + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  return text === '' ? { code: answer.status } : JSON.parse(text);
};
const ask = (...words) => askAs(key, ...words);
const say = (...words) => console.log(words.join(' ').trim());
const cli = (...words) =>
  execFileSync(tsvm, ['sandbox', ...words], { encoding: 'utf8', env: { ...process.env, TSVM_KEY: key, TSVM_SERVER: url } }).trim();
const exec = async (id, script) => {
  const { stdout, detail } = await ask('POST', 'sandboxes/' + id + '/exec', { command: ['sh', '-c', script], timeout: 600_000 });
  return detail ?? stdout.trim();
};
const share = async () => {
  const { held: { cpus, memory, disk }, snapshots } = await ask('GET', 'tenant');
  say('held', cpus, memory / 2 ** 20, disk / 2 ** 20, snapshots);
};
const spec = { memory: ${128 * 2 ** 20}, disk: ${64 * 2 ** 20}, metadata: { of: 'me' }, lifetime: 86_000_000 };
const made = await ask('POST', 'sandboxes', { image: '${DEBIAN}', ...spec });
say(made.status, made.detail ?? '');
const at = (what) => 'cat /kept /dev/shm/kept; kill -0 $(cat /dev/shm/pid) && echo ' + what;
await exec(made.id, 'sleep 100000 > /dev/null 2>&1 & echo $! > /dev/shm/pid; echo disk > /kept; echo memory > /dev/shm/kept');
const kept = await ask('POST', 'sandboxes/' + made.id + '/snapshots');
say(kept.sandbox === made.id, kept.detail ?? '');
await share();
say('again', (await ask('POST', 'sandboxes/' + made.id + '/snapshots')).detail);
await exec(made.id, 'echo changed > /kept; echo changed > /dev/shm/kept');
say((await exec(made.id, at('runs'))).replaceAll('\\n', ' '));

const fork = cli('fork', '--lifetime', '20h', made.id);
say((await exec(fork, at('forked'))).replaceAll('\\n', ' '));
const forked = await ask('GET', 'sandboxes/' + fork);
say(forked.origin === made.id, forked.lifetime, forked.metadata.of);
await share();
say((await ask('DELETE', 'sandboxes/' + fork)).code, (await ask('DELETE', 'sandboxes/' + made.id)).code);

for (const path of ['snapshots/' + kept.id, 'snapshots/sn-0000000000000000']) {
  const answers = [await askAs(otherKey, 'GET', path), await askAs(otherKey, 'DELETE', path), await askAs(otherKey, 'POST', path + '/sandboxes', {})];
  say(...answers.map(({ status, code, detail }) => status + ' ' + code + ' ' + detail));
}
say((await askAs(otherKey, 'GET', 'snapshots')).snapshots.length);

// Nor is a connection used again that the server may just be closing: its clock and this one's are slow.
const own = { headers: { Connection: 'close' }, retries: 0, requestTimeoutMs: 600_000 };
const here = { apiKey: key, apiUrl: url, sandboxUrl: url, ...own };
const sandbox = await Sandbox.create(kept.id, { ...here, timeoutMs: 80_000_000 });
const { stdout } = await sandbox.commands.run(at('continued'), { timeoutMs: 600_000, user: 'root' });
say(stdout.replaceAll('\\n', ' '));
say((await ask('GET', 'sandboxes/' + sandbox.sandboxId)).origin === kept.id);
say((await Sandbox.listSnapshots(here).nextItems()).map(({ snapshotId }) => snapshotId === kept.id));
const [copy] = await sandbox.fork({ timeoutMs: 80_000_000 });
say(copy instanceof Sandbox ? (await copy.commands.run('cat /kept', { timeoutMs: 600_000 })).stdout : copy);
await copy.kill();
say(await Sandbox.deleteSnapshot(kept.id, here), await Sandbox.deleteSnapshot(kept.id, here));
say((await ask('POST', 'snapshots/' + kept.id + '/sandboxes', {})).code);
// What has continued it runs on.
say(await exec(sandbox.sandboxId, 'cat /kept'));
await share();

// The server is killed amid a snapshot.
const folder = data + '/tenants/acme/snapshots';
const before = new Set(readdirSync(folder));
const server = Number(process.env.SERVER);
const asked = sandbox.createSnapshot().catch(() => 'lost');
while (readdirSync(folder).every((name) => before.has(name))) await new Promise((resolve) => setTimeout(resolve, 5));
process.kill(server, 'SIGKILL');
const lost = await asked;
say(lost);
say(sandbox.sandboxId);
`;

/** Of the server that starts next. */
const AFTER = `
const [url, key, id] = process.argv.slice(1);
const headers = { Authorization: 'Bearer ' + key, 'Content-Type': 'application/json', Connection: 'close' };
const ask = async (method, path, body) => {
  const answer = await fetch(url + '/v1/' + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  return text === '' ? { code: answer.status } : JSON.parse(text);
};
console.log((await ask('GET', 'snapshots')).snapshots.length, (await ask('GET', 'tenant')).snapshots);
const exec = await ask('POST', 'sandboxes/' + id + '/exec', { command: ['cat', '/kept'], timeout: 600_000 });
console.log(exec.detail ?? exec.stdout.trim());
const again = await ask('POST', 'sandboxes/' + id + '/snapshots');
console.log(again.sandbox === id, again.detail ?? '');
console.log((await ask('DELETE', 'sandboxes/' + id)).code);
const { held } = await ask('GET', 'tenant');
console.log(held.cpus, held.disk / 2 ** 20);
`;

const node = (program: string) => `${process.execPath} --input-type=module -e '${program.replaceAll("'", '"')}'`;

test.each(machines.filter(isLab))('$name: copies of a sandbox continue it, and nothing of one is left', async (lab) => {
  const said = await script(
    lab,
    `
    data=$(mktemp -d /tmp/serve-XXXXXX)
    key=$(tsvm tenant add --data $data --snapshots 1 acme); other=$(tsvm tenant add --data $data other)
    ln -s $TSVM_HOME/store-* $data/tenants/acme/
    serve() { rm -f $data/said; "$TSVM" serve --data $data --listen 127.0.0.1:0 > $data/said 2>> $data/faults & server=$!
      until grep -qs listening $data/said; do sleep 0.2; done; url=$(sed "s/listening on //" $data/said); }
    # The shell tells of a job that is killed.
    serve; disown $server
    SERVER=$server ${node(ASKING)} $url $key $other "$TSVM" $data > $data/asked || { cat $data/asked $data/faults; exit 1; }
    id=$(tail -n 1 $data/asked); head -n -1 $data/asked
    while kill -0 $server 2> /dev/null; do sleep 0.1; done
    serve; ${node(AFTER)} $url $key $id
    kill $server; wait $server; cat $data/faults
    home=$data/tenants/acme
    TSVM_HOME=$home tsvm ps -aq; ls -A $home/snapshots | sed -E "s/[0-9a-f]{16,}/ID/" | sort
    tsvm tenant rm --data $data acme; ls $data/tenants; rm -r $data`,
  );
  expect(said.split('\n').map((line) => line.trim())).toEqual([
    'running',
    'true',
    // The snapshot is as large as the disk and memory of the sandbox.
    'held 1 128 256 1',
    "again the tenant's share is 1 snapshots",
    'changed changed runs',
    'changed changed forked',
    'true 72000000 me',
    // A copy has the memory of what it continues on the disk.
    'held 2 256 448 1',
    '204 204',
    '404 not-found no such snapshot 404 not-found no such snapshot 404 not-found no such snapshot',
    '404 not-found no such snapshot 404 not-found no such snapshot 404 not-found no such snapshot',
    '0',
    'disk memory continued',
    'true',
    'true',
    'disk',
    'true false',
    'not-found',
    'disk',
    'held 1 128 192 0',
    'lost',
    '0 0',
    'disk',
    'true',
    '204',
    '0 192',
    // One snapshot, and its name.
    '.ID',
    'sn-ID',
    'acme',
    'other',
    '',
  ]);
});

test('on User-Mode Linux they are refused', async () => {
  await using served = new Served(uml);
  const key = await served.tenant('acme');
  await served.start();
  const id = await served.create(key);
  const refused = 'a sandbox that is not on KVM has no snapshots and no forks';
  const answer = { status: 400, body: { code: 'bad-request', detail: refused } };
  expect(await served.call(key, 'POST', `/${id}/snapshots`)).toMatchObject(answer);
  expect(await served.call(key, 'POST', `/${id}/fork`, { count: 2 })).toMatchObject(answer);
  const env = { TSVM_KEY: key, TSVM_SERVER: served.url };
  const sandbox = (...words: string[]) => run(uml, [TSVM, 'sandbox', ...words], { env });
  const told = { code: 125, stdout: '', stderr: `tsvm: ${refused}\n` };
  expect(await sandbox('snapshot', 'create', id)).toEqual(told);
  expect(await sandbox('fork', '-n', '2', id)).toEqual(told);
  expect(await sandbox('snapshot', 'ls', '-q')).toEqual({ code: 0, stdout: '', stderr: '' });
  const none = { code: 125, stdout: '', stderr: 'tsvm: no such snapshot\n' };
  expect(await sandbox('create', '--snapshot', 'sn-0000000000000000')).toEqual(none);
  expect(await sandbox('snapshot', 'rm', 'sn-0000000000000000')).toEqual(none);
  // It runs on, and nothing of the copies is left.
  expect((await served.exec(key, id, ['echo', 'on'])).body.stdout).toBe('on\n');
  expect((await served.call(key, 'GET', '')).body.sandboxes.map((each) => each.id)).toEqual([id]);
  expect(served.left('acme').filter((name) => name.startsWith('sb-'))).toEqual([id, id]);
});
