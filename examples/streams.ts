// Runs several commands in one sandbox: streams both ways, users, environments, signals.
import { pipeline } from 'node:stream/promises';
import { Sandbox } from 'tsvm';

await using sandbox = await Sandbox.create('debian:12', { memory: 128 * 2 ** 20, network: { mode: 'none' } });

const sort = await sandbox.exec(['sort'], { stdin: 'pipe' });
sort.stdin?.end('b\na\n');
await pipeline(sort.stdout, process.stdout, { end: false });

const who = await sandbox.run(['sh', '-c', 'echo "$(id -un) in $(pwd) with $NAME"'], {
  user: 'nobody',
  cwd: '/tmp',
  env: { NAME: 'value' },
});
process.stdout.write(who.stdout);

const sleep = await sandbox.exec(['sleep', '1000']);
sleep.kill('SIGTERM');
console.log('exit', await sleep.exit);
