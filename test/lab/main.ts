// `npm run lab -- CMD...`: runs a command in the lab, with this process's stdin, stdout, stderr and
// exit code.
//   npm run lab                  runs a shell in a lab of its own
//   npm run lab -- --serve       boots a lab that stays, and prints how other calls use it
//   npm run lab -- --trace ...   boots one whose kernel has a function tracer: `tsvm kernel pull debian-lab`
import { constants } from 'node:os';
import { spawnInLab } from './client.js';
import { Lab } from './lab.js';

const SOCKET_VARIABLE = 'TSVM_LAB';

/** Wraps a command so that it gets a pseudo-terminal in the lab, as large as this terminal. */
function withTerminal(argv: string[]): string[] {
  const { columns = 80, rows = 24 } = process.stdout;
  const quoted = argv.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  return ['script', '-qefc', `stty rows ${rows} cols ${columns}; exec ${quoted}`, '/dev/null'];
}

async function run(socketPath: string, argv: string[]): Promise<number> {
  const isTerminal = process.stdin.isTTY && process.stdout.isTTY;
  const env: Record<string, string> = {};
  for (const name of ['TSVM_HOME', 'TSVM_KERNEL_CACHE', 'TSVM_TRACE', 'TERM']) {
    if (process.env[name] !== undefined) env[name] = process.env[name];
  }
  const command = spawnInLab(socketPath, isTerminal ? withTerminal(argv) : argv, { env });
  if (isTerminal) process.stdin.setRawMode(true);
  process.stdin.pipe(command.stdin);
  command.stdin.on('error', () => {});
  command.stdout.pipe(process.stdout);
  command.stderr.pipe(process.stderr);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => command.kill(signal));
  try {
    const { exitCode, signal } = await command.exit;
    return exitCode ?? 128 + constants.signals[signal!];
  } finally {
    if (isTerminal) process.stdin.setRawMode(false);
    process.stdin.destroy();
  }
}

async function main(words: string[]): Promise<number> {
  const running = process.env[SOCKET_VARIABLE];
  const trace = words[0] === '--trace';
  const argv = trace ? words.slice(1) : words;
  if (running !== undefined) {
    if (trace) throw new Error(`--trace boots a lab, and ${SOCKET_VARIABLE} names one that runs`);
    return run(running, argv.length > 0 ? argv : ['bash']);
  }
  await using lab = await Lab.start(trace ? 'debian-lab' : 'lab');
  // `await` keeps the lab until the command has ended.
  if (argv[0] !== '--serve') return await run(lab.socketPath, argv.length > 0 ? argv : ['bash']);
  console.log(`export ${SOCKET_VARIABLE}=${lab.socketPath}`);
  await new Promise((resolve) => process.once('SIGINT', resolve).once('SIGTERM', resolve));
  return 0;
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: Error) => {
    console.error(`lab: ${error.message}`);
    process.exitCode = 125;
  },
);
