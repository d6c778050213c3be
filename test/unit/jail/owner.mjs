// An owner of a jailed process, for launcher.host.test.ts: has what the exploit tries to reach, runs
// it, and prints what it reached as one line of JSON: `{ attempts, report, status, stderr }`.
//     owner.mjs FOLDER EXPLOIT [PREFIX... --] [LAUNCHER [OPTION VALUE]...]
// With FILTER in the environment, the program gets the filter of system calls in that file.
// With a prefix it passes its folder as it is, else as a mount of its own, as the machine's owner does,
// read-only if the environment has PASS_AS=ro:.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';

const O_PATH = 0o10000000;
const [, , folder, exploit, ...words] = process.argv;
const prefix = words.includes('--') ? words.splice(0, words.indexOf('--') + 1).slice(0, -1) : [];
const [launcher, ...options] = words;

writeFileSync(`${folder}/secret`, 'a secret');
mkdirSync(`${folder}/shared`);
// Root's jail has a user of its own.
chmodSync(`${folder}/shared`, 0o777);
writeFileSync(`${folder}/shared/inside`, '');
const abstract = `tsvm-exploit-${process.pid}`;
const tcp = createServer().listen(0, '127.0.0.1');
const servers = [tcp, createServer().listen(`${folder}/socket`), createServer().listen(`\0${abstract}`)];
await Promise.all(servers.map((server) => once(server, 'listening')));
spawnSync(exploit, ['make-shared-memory']);

// The third descriptor is a pipe for the report, the fourth what was passed, the fifth a secret.
const secret = openSync(`${folder}/secret`, 'r');
const passed = openSync(`${folder}/shared`, O_PATH);
const filter = process.env.FILTER === undefined ? undefined : openSync(process.env.FILTER, 'r');
const attempts = [process.pid, tcp.address().port, abstract, `${folder}/socket`, folder].map(String);
const jail = launcher === undefined ? [] : [launcher, ...jailWords()];
const [program, ...rest] = [...prefix, ...jail, exploit, ...attempts, ...(launcher === undefined ? [] : ['4'])];
const child = spawn(program, rest, {
  stdio: ['ignore', 'pipe', 'pipe', 'pipe', prefix.length > 0 ? passed : 'pipe', secret, filter ?? 'ignore'],
  env: { ...process.env, SECRET_TOKEN: 'a secret' },
});
if (launcher !== undefined && prefix.length === 0) {
  // A program that cannot receive leaves the message.
  child.stdio[4].on('error', () => {});
  const { fd } = child.stdio[4]._handle;
  spawnSync(launcher, ['pass', '3', 'a line\n', `${process.env.PASS_AS ?? ''}4`], {
    stdio: ['ignore', 'inherit', 'inherit', fd, passed],
  });
}
const read = async (stream) => {
  let text = '';
  for await (const chunk of stream) text += chunk;
  return text;
};
const [stdout, stderr, report, [status]] = await Promise.all([
  read(child.stdout),
  read(child.stderr),
  read(child.stdio[3]),
  once(child, 'close'),
]);
spawnSync(exploit, ['remove-shared-memory']);
const found = Object.fromEntries(
  stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' ')),
);
console.log(JSON.stringify({ attempts: found, report: report === '' ? null : JSON.parse(report), status, stderr }));
process.exit(0);

/** The descriptors of a machine process. A folder that is passed as it is, is writable by a rule. */
function jailWords() {
  return [
    ...[
      '--report',
      '3',
      prefix.length > 0 ? (process.env.PASS_AS === 'ro:' ? '--open' : '--write') : '--keep',
      '4',
      '--read',
      exploit,
    ],
    ...options,
    ...(filter === undefined ? [] : ['--filter', '6']),
    '--',
  ];
}
