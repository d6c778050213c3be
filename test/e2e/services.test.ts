// sshd, cron, MariaDB and systemd of Debian's packages run in containers as on any host.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fastest, isUml, type Machine, type Result, type RunOptions, readUntil, run, TSVM } from './machine.js';

/** The image that `./quickstart --setup-only --test` makes. */
const SERVICES = 'services:12';
/** Maximum time for a service to begin to answer, in milliseconds. */
const PATIENCE = 300_000;

/**
 * For User-Mode Linux, whose programs have 2^39 bytes of addresses: MariaDB would reserve 2^43 for a
 * buffer pool that grows.
 */
const SMALL_POOL = "printf '[mysqld]\\ninnodb-buffer-pool-size-max = 1G\\n' > /etc/mysql/conf.d/pool.cnf";

/** Starts a container in the background. Disposing of it removes it. */
async function start(machine: Machine, ...words: string[]) {
  const command = (argv: string[], options?: RunOptions): Promise<Result> =>
    run(machine, [TSVM, ...argv], { timeout: PATIENCE, ...options });

  /** Runs `tsvm`, which has to succeed. Returns its output. */
  const tsvm = async (...argv: string[]): Promise<string> => {
    const { code, stdout, stderr } = await command(argv);
    expect({ code, stderr }, `${argv.join(' ')}: ${stdout}`).toEqual({ code: 0, stderr: '' });
    return stdout;
  };

  const id = (await tsvm('run', '-d', ...words)).trim();
  const exec = (...argv: string[]): Promise<string> => tsvm('exec', id, ...argv);

  /** Repeats a command in the container until it succeeds: a service takes a while to answer. */
  const eventually = async (...argv: string[]): Promise<string> => {
    for (const deadline = performance.now() + PATIENCE; ; ) {
      const { code, stdout, stderr } = await command(['exec', id, ...argv]);
      if (code === 0) return stdout;
      if (performance.now() > deadline) throw new Error(`${argv.join(' ')} fails: ${stdout}${stderr}`);
    }
  };

  /** Waits until the container has written this to stderr. */
  const logged = async (text: string): Promise<void> => {
    const follow = machine.spawn([TSVM, 'logs', '-f', id]);
    try {
      await readUntil(follow.stderr, text);
    } finally {
      follow.kill('SIGTERM');
      await follow.exit;
    }
  };

  /** Where this machine reaches a port of the container. */
  const published = async (port: number) => {
    const [host = '', at] = (await tsvm('port', id, `${port}`)).trim().split(':');
    return { host, port: Number(at) };
  };

  const dispose = async () => {
    await command(['rm', '-f', '-v', id]);
  };
  return { id, command, tsvm, exec, eventually, logged, published, [Symbol.asyncDispose]: dispose };
}

describe.each(fastest)('on $name', (machine) => {
  const prepared = isUml(machine) ? SMALL_POOL : ':';
  let folder: string;
  /** Has an sshd, and a cron whose job is due at the next full minute: the last test looks at it. */
  let server: Awaited<ReturnType<typeof start>>;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
    const script = `echo '* * * * * nobody id -un >/tmp/ran' >/etc/cron.d/job; cron
      mkdir -p /run/sshd; exec /usr/sbin/sshd -D -e`;
    server = await start(machine, '-p', '127.0.0.1::22', SERVICES, 'sh', '-c', script);
  });

  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  test('sshd greets first, logs in by key, gives a terminal and passes a megabyte in both directions', async () => {
    const { host, port } = await server.published(22);
    const key = join(folder, 'key');
    expect(await run(machine, ['ssh-keygen', '-qt', 'ed25519', '-N', '', '-f', key])).toMatchObject({ code: 0 });
    const trust = 'umask 77; mkdir -p /root/.ssh; cat >>/root/.ssh/authorized_keys';
    const stdin = readFileSync(`${key}.pub`);
    const trusted = await server.command(['exec', '-i', server.id, 'sh', '-c', trust], { stdin });
    expect(trusted).toMatchObject({ code: 0, stderr: '' });

    await server.logged('Server listening on :: port 22.');
    const client = connect(port, host);
    expect(await readUntil(client, '\n')).toMatch(/^SSH-2\.0-OpenSSH_/);
    client.destroy();

    const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR', 'BatchMode=yes'];
    const words = ['-F', 'none', '-i', key, '-p', `${port}`, ...options.flatMap((option) => ['-o', option])];
    const ssh = ['ssh', ...words, `root@${host}`];
    const bytes = randomBytes(1 << 20).toString('base64');
    expect(await run(machine, [...ssh, 'cat; exit 7'], { stdin: bytes })).toEqual({
      code: 7,
      stdout: bytes,
      stderr: '',
    });
    expect((await run(machine, [...ssh, '-tt', 'tty; exit 7'])).stdout).toBe('/dev/pts/0\r\n');

    const inside = `ssh-keygen -qt ed25519 -N '' -f /root/.ssh/id_ed25519
      cat /root/.ssh/id_ed25519.pub >>/root/.ssh/authorized_keys
      ssh -o StrictHostKeyChecking=no -o LogLevel=ERROR localhost 'echo "from \${SSH_CONNECTION%% *}"'`;
    expect(await server.exec('sh', '-c', inside)).toMatch(/^from (::1|127\.0\.0\.1)\n$/);
    const logins = async () =>
      (await server.command(['logs', server.id])).stderr.match(/^Accepted publickey for root/gm)?.length;
    await expect.poll(logins).toBe(3);
  });

  test('MariaDB answers at a published port, ends cleanly and keeps its rows', async () => {
    const script = `${prepared}; install -d -o mysql /run/mysqld
      exec mariadbd --user=mysql --bind-address=0.0.0.0`;
    await using database = await start(machine, '-p', '127.0.0.1::3306', SERVICES, 'sh', '-c', script);
    const sql = (query: string) => database.exec('mariadb', '-Ne', query);
    await database.eventually('mariadb-admin', '--silent', 'ping');
    await sql('CREATE DATABASE shop; CREATE TABLE shop.sold (n INT PRIMARY KEY) ENGINE=InnoDB');
    await sql("CREATE USER reader@'%'");
    await sql('INSERT INTO shop.sold SELECT seq FROM shop.seq_1_to_1000');
    const { host, port } = await database.published(3306);
    const client = connect(port, host);
    expect(await readUntil(client, 'MariaDB')).toMatch(/10\.11\.\d+-MariaDB/);
    client.destroy();

    await database.tsvm('stop', '-t', '200', database.id);
    expect(await database.tsvm('inspect', '-f', '{{.State.ExitCode}}', database.id)).toBe('0\n');
    expect((await database.command(['logs', database.id])).stderr).toContain('mariadbd: Shutdown complete');
    await database.tsvm('start', database.id);
    await database.eventually('mariadb-admin', '--silent', 'ping');
    expect(await sql('SELECT count(*), sum(n) FROM shop.sold')).toBe('1000\t500500\n');
    expect((await database.command(['logs', database.id])).stderr).not.toContain('crash recovery');
  });

  // Docker and podman say the same of such a container: they log what the console shows, so only with -t, and its code
  // is 130, since a PID namespace that is halted ends by SIGINT.
  test('systemd brings all units up as process 1, shows it on its terminal, and halts when it is stopped', async () => {
    const options = ['-t', '--privileged', '--stop-signal', 'SIGRTMIN+3'];
    await using host = await start(machine, ...options, SERVICES, 'sh', '-c', `${prepared}; exec /sbin/init`);
    expect(await host.eventually('systemctl', 'is-system-running', '--wait')).toBe('running\n');
    expect(await host.exec('systemctl', 'is-active', 'ssh', 'cron', 'mariadb')).toBe('active\n'.repeat(3));
    const limited = ['systemd-run', '-qPp', 'MemoryMax=64M', '-p', 'DynamicUser=yes', 'sh', '-c'];
    const script = 'cat /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup)/memory.max';
    expect(await host.exec(...limited, script)).toBe(`${64 << 20}\n`);
    await host.tsvm('stop', '-t', '200', host.id);
    expect(await host.tsvm('inspect', '-f', '{{.State.ExitCode}}', host.id)).toBe('130\n');
    const shown = await host.tsvm('logs', host.id);
    expect(shown).toContain('Welcome to \x1b[1mDebian GNU/Linux 12 (bookworm)\x1b[0m!\r\n');
    expect(shown).toContain('\nHalting system.');
  });

  test('cron runs a job as the user that its table names', async () => {
    const script = 'until [ -s /tmp/ran ]; do sleep 1; done; cat /tmp/ran';
    expect(await server.exec('sh', '-c', script)).toBe('nobody\n');
  });
});
