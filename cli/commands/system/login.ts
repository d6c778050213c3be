// tsvm login: checks credentials at a registry, and stores them where Docker does.
import type { Command } from 'commander';
import { login, registryHost } from '../../../images/index.js';
import { UsageError } from '../../output/errors.js';
import { ask } from '../../output/prompt.js';
import { type Context, createCommand, openLog } from '../command.js';

/** The most bytes of a password on stdin. */
const MAX_PASSWORD = 1 << 20;

interface Options {
  username?: string;
  password?: string;
  passwordStdin?: boolean;
}

export function command(context: Context): Command {
  return createCommand('tsvm login', context)
    .description('Logs in to a registry. Stores the credentials in ~/.docker/config.json or its credential helper.')
    .usage('[options] [SERVER]')
    .argument('[SERVER]', 'registry, HOST[:PORT] (default: docker.io)')
    .option('-u, --username <NAME>', 'user name')
    .option('-p, --password <PASSWORD>', 'password; other users of this host can see it')
    .option('--password-stdin', 'read the password from stdin')
    .action(async (server: string | undefined, options: Options) => {
      const host = registryHost(server);
      const log = await openLog(context);
      if (options.password !== undefined) log.warn('other users can see --password: use --password-stdin');
      const { username, password } = await whoAreYou(options);
      const file = await login(host, username, password);
      if (file !== null)
        log.warn(`the password is stored unencrypted in ${file}: configure a credential helper to encrypt it`);
      process.stdout.write('Login Succeeded\n');
    });
}

async function whoAreYou({
  username,
  password,
  passwordStdin,
}: Options): Promise<{ username: string; password: string }> {
  if (passwordStdin) {
    if (password !== undefined) throw new UsageError('--password and --password-stdin are mutually exclusive');
    if (username === undefined) throw new UsageError('--password-stdin needs --username');
    return { username, password: check(await readPassword(), 'password') };
  }
  if ((username === undefined || password === undefined) && !process.stdin.isTTY) {
    throw new UsageError(
      'cannot ask for a user name or a password without a terminal: give --username and --password-stdin',
    );
  }
  const name = check(username ?? (await ask('Username: ')), 'user name');
  return { username: name, password: check(password ?? (await ask('Password: ', { hidden: true })), 'password') };
}

async function readPassword(): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_PASSWORD) throw new UsageError('the password on stdin is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '');
}

function check(text: string, what: string): string {
  if (text === '') throw new UsageError(`the ${what} is empty`);
  return text;
}
