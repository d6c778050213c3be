// Real programs use the network: published ports and allowed addresses work, all else is closed.
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { debianImages } from '../fixtures/debian-images.js';
import { freePort } from '../fixtures/free-port.js';
import { DEBIAN, fastest, isUml, type Machine, machines, PYTHON, readUntil, run, TSVM, tsvmRun } from './machine.js';

let named = 0;

/** A name that no other test of the machine has. */
const fresh = (name: string) => `${name}-${process.pid}-${named++}`;

/** Starts a server at a port of the machine's loopback interface. Disposing of it ends it. */
async function serve(machine: Machine, program: string) {
  const server = machine.spawn(['/usr/bin/python3', '-u', '-c', program, '0']);
  const said = await readUntil(server.stdout, '\n');
  return {
    port: Number(/^ready (\d+)$/m.exec(said)?.[1]),
    async [Symbol.asyncDispose]() {
      server.kill('SIGTERM');
      await server.exit;
    },
  };
}

const FILE_SERVER = `
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    self.send_response(200); self.end_headers()
    for block in range(64): self.wfile.write(bytes([block]) * 65536)
  def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler)
print('ready', server.server_port); server.serve_forever()`;

const DOWNLOAD = `
import hashlib, sys, urllib.request
print(hashlib.sha256(urllib.request.urlopen(sys.argv[1], timeout=60).read()).hexdigest())`;

const FETCH = `
import sys, time, urllib.request
for attempt in range(600):
  try: sys.exit(print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode()))
  except OSError: time.sleep(0.2)`;

/** Connects to each address given as an argument, and prints the result. */
const CONNECT = `
import socket, sys
for word in sys.argv[1:]:
  host, port = word.rsplit(':', 1)
  try: socket.create_connection((host, int(port)), timeout=20).close(); print(word, 'connected')
  except OSError as error: print(word, type(error).__name__)`;

/** Serves clients that only listen: greets each, and keeps its connection. */
const GREETER = `
import socket, time
listener = socket.create_server(('', 22))
clients = []
print('ready', flush=True)
while True:
  client, _ = listener.accept()
  client.sendall(b'SSH-2.0-greeter\\n')
  clients.append(client)`;

/** Listens at each port given as an argument until it gets a line, and prints the line. */
const LISTEN = `
import socket, sys, time
def listen(port):
  while True:
    try:
      with socket.create_connection(('127.0.0.1', port)) as server:
        line = server.recv(100)
        if line: return line
    except OSError: pass
    time.sleep(0.1)
print(listen(int(sys.argv[1])).decode().strip())`;

/** Runs a Python program in a container. */
const python = (machine: Machine, options: string[], program: string, ...words: string[]) =>
  tsvmRun(machine, [...options, PYTHON, 'python3', '-c', program, ...words]);

describe.each(machines)('on $name', (machine) => {
  test("a container fetches a whole file from the host's loopback interface if a rule allows it", async () => {
    await using server = await serve(machine, FILE_SERVER);
    const at = server.port;
    const here = await run(machine, ['/usr/bin/python3', '-c', DOWNLOAD, `http://127.0.0.1:${at}/`]);
    const options = ['--allow-net', `host-gateway:${at}`, '--add-host', 'host:host-gateway'];
    const there = await python(machine, options, DOWNLOAD, `http://host:${at}/`);
    expect(there).toEqual({ code: 0, stdout: here.stdout, stderr: '' });
    expect(there.stdout).toMatch(/^[0-9a-f]{64}\n$/);
  });
});

describe.each(fastest)('on $name', (machine) => {
  test('nginx answers at its published port', async () => {
    const at = await freePort();
    const image = `oci:${debianImages()}:nginx`;
    const argv = ['nginx', '-g', 'daemon off;'];
    const web = machine.spawn([TSVM, 'run', '--rm', '-p', `127.0.0.1:${at}:80`, image, ...argv]);
    try {
      const { stdout } = await run(machine, ['/usr/bin/python3', '-c', FETCH, `http://127.0.0.1:${at}/`]);
      expect(stdout).toContain('Welcome to nginx!');
    } finally {
      web.kill('SIGTERM');
      await web.exit;
    }
  });

  test('a server that speaks first is heard, and a pause that is killed leaves nothing', async () => {
    const [name, at] = [fresh('greeter'), String(await freePort())];
    const tsvm = async (...words: string[]) => (await run(machine, [TSVM, ...words])).stdout.trim();
    const sh = async (script: string, ...words: string[]) =>
      (await run(machine, ['bash', '-c', script, 'bash', ...words])).stdout.trim();
    const listen = () => run(machine, ['/usr/bin/python3', '-c', LISTEN, at]);
    await tsvm('run', '-d', '--name', name, '-p', `127.0.0.1:${at}:22`, PYTHON, 'python3', '-c', GREETER);
    try {
      while (!(await tsvm('logs', name)).includes('ready')) await sleep(500);
      expect(await listen()).toMatchObject({ code: 0, stdout: 'SSH-2.0-greeter\n' });
      const pid = await tsvm('inspect', '-f', '{{.State.Pid}}', name);
      // Above the machine process is the launcher of its jail.
      const supervisor = await sh('ps -o ppid= -p $(ps -o ppid= -p "$1")', pid);
      const paused = await run(machine, [TSVM, 'pause', name]);
      if (isUml(machine)) expect(paused.stderr).toMatch(/ runs on uml, which cannot be paused: kvm and tcg can\n$/);
      else expect(await sh('cut -d" " -f3 "/proc/$1/stat"', pid)).toBe('T');
      await sh('kill -9 "$1"; while kill -0 "$2"; do sleep 0.1; done 2>/dev/null', supervisor, pid);
      await tsvm('start', name);
      expect(await listen()).toMatchObject({ code: 0, stdout: 'SSH-2.0-greeter\n' });
    } finally {
      await tsvm('rm', '-f', name);
    }
  });

  test('free ports of the host are chosen and reported, and lead to the container', async () => {
    const name = fresh('ports');
    const tsvm = async (...words: string[]) => (await run(machine, [TSVM, ...words])).stdout;
    const server = [PYTHON, 'python3', '-m', 'http.server', '80'];
    await tsvm('run', '-d', '--name', name, '-p', '127.0.0.1::80', '-P', '--expose', '9000/udp', ...server);
    try {
      const published = await tsvm('port', name, '80');
      expect(published).toMatch(/^127\.0\.0\.1:\d+\n$/);
      const at = published.trim();
      const { stdout } = await run(machine, ['/usr/bin/python3', '-c', FETCH, `http://${at}/etc/`]);
      expect(stdout).toContain('href="hostname"');
      const listed = await tsvm('ps', '--filter', `name=${name}`, '--format', '{{.Ports}}');
      expect(listed).toMatch(
        new RegExp(`^${at}->80/tcp, 0\\.0\\.0\\.0:(\\d+)->9000/udp(, \\[::\\]:\\1->9000/udp)?\n$`),
      );
      const ids = (filter: string) => tsvm('ps', '-q', '--filter', `name=${name}`, '--filter', filter);
      expect(await ids('publish=80')).toMatch(/^[0-9a-f]{12}\n$/);
      expect(await ids('publish=80/udp')).toBe('');
      expect(await ids('expose=8999-9000/udp')).toMatch(/^[0-9a-f]{12}\n$/);
      expect(await ids('network=nowhere')).toBe('');
      const template = '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}';
      expect(await tsvm('inspect', '-f', template, name)).toBe(`${at.split(':')[1]}\n`);
    } finally {
      await tsvm('rm', '-f', name);
    }
  });

  test('the host, private networks and metadata are refused at once unless a rule allows them', async () => {
    await using server = await serve(machine, FILE_SERVER);
    const at = server.port;
    const closed = [`198.19.0.1:${at}`, '169.254.169.254:80', '10.0.0.1:80', '192.168.1.1:80', '172.17.0.1:22'];
    const { stdout } = await python(machine, ['--network', 'default'], CONNECT, ...closed);
    expect(stdout).toBe(closed.map((address) => `${address} ConnectionRefusedError\n`).join(''));
    const list = await python(
      machine,
      ['--allow-net', `host-gateway:${at}`],
      CONNECT,
      `198.19.0.1:${at}`,
      '203.0.113.1:80',
    );
    expect(list.stdout).toBe(`198.19.0.1:${at} connected\n203.0.113.1:80 ConnectionRefusedError\n`);
  });

  test('containers of one network reach each other by name, and those of another do not', async () => {
    const [lan, web] = [fresh('lan'), fresh('web')];
    const tsvm = (...words: string[]) => run(machine, [TSVM, ...words]);
    const fetch = [PYTHON, 'python3', '-c', DOWNLOAD, `http://${web}:8000/`];
    await tsvm('network', 'create', '--internal', lan);
    const served = FILE_SERVER.replace('127.0.0.1', '0.0.0.0');
    const server = ['--name', web, '--network', lan, PYTHON, 'python3', '-u', '-c', served, '8000'];
    expect((await tsvm('run', '-d', '--rm', ...server)).stderr).toBe('');
    while (!(await tsvm('logs', web)).stdout.includes('ready')) await sleep(500);
    const there = await tsvmRun(machine, ['--network', lan, ...fetch]);
    expect(there).toEqual({ code: 0, stdout: expect.stringMatching(/^[0-9a-f]{64}\n$/), stderr: '' });
    expect((await tsvmRun(machine, fetch)).code).toBe(1);
    const inside = await tsvm('exec', web, 'python3', '-c', CONNECT, '203.0.113.1:80');
    expect(inside.stdout).toBe('203.0.113.1:80 ConnectionRefusedError\n');
    expect((await tsvm('network', 'rm', lan)).code).toBe(125);
    await tsvm('rm', '-f', web);
    expect((await tsvm('network', 'rm', lan)).code).toBe(0);
  });

  test('a running container joins a network, is resolved by name there, and leaves it', async () => {
    const [lan, web, client] = [fresh('lan'), fresh('web'), fresh('client')];
    const tsvm = (...words: string[]) => run(machine, [TSVM, ...words]);
    const id = (await tsvm('network', 'create', '--internal', lan)).stdout.trim();
    const server = ['--name', web, PYTHON, 'python3', '-u', '-m', 'http.server', '8000'];
    const fetch = (name = web) => tsvm('exec', client, 'python3', '-c', DOWNLOAD, `http://${name}:8000/etc/hostname`);
    try {
      expect((await tsvm('run', '-d', '--rm', ...server)).stderr).toBe('');
      const idle = ['--name', client, '--network', lan, '--network-alias', 'till', PYTHON, 'sleep', '1000'];
      await tsvm('run', '-d', '--rm', ...idle);
      while (!(await tsvm('logs', web)).stdout.includes('Serving')) await sleep(500);
      expect((await fetch()).code).toBe(1);
      const connect = ['connect', '--alias', 'shop', id.slice(0, 12), web];
      expect(await tsvm('network', ...connect)).toEqual({ code: 0, stdout: '', stderr: '' });
      for (const name of [web, 'shop']) {
        expect(await fetch(name)).toEqual({
          code: 0,
          stdout: expect.stringMatching(/^[0-9a-f]{64}\n$/),
          stderr: '',
        });
      }
      const resolved = await tsvm('exec', web, 'getent', 'hosts', 'till');
      expect(resolved).toEqual({ code: 0, stdout: expect.stringMatching(/^198\.19\.\d+\.\d+ +till\n$/), stderr: '' });
      const again = await tsvm('network', 'connect', lan, web);
      expect(again.stderr).toBe(`tsvm: endpoint with name ${web} already exists in network ${lan}\n`);
      const [described] = JSON.parse((await tsvm('network', 'inspect', lan)).stdout);
      expect(described).toMatchObject({ Name: lan, Id: id, Scope: 'local', Internal: true });
      expect(Object.values(described.Containers)).toContainEqual({
        Name: web,
        IPv4Address: expect.stringMatching(/^198\.19\.\d+\.\d+\/32$/),
      });
      const inUse = new RegExp(`^tsvm: network ${lan} has active endpoints: .*${web}`);
      expect((await tsvm('network', 'rm', lan)).stderr).toMatch(inUse);
      expect((await tsvm('network', 'disconnect', lan, web)).code).toBe(0);
      expect((await fetch()).code).toBe(1);
      const twice = await tsvm('network', 'disconnect', lan, web);
      expect(twice.stderr).toBe(`tsvm: container ${web} is not connected to network ${lan}\n`);
    } finally {
      await tsvm('rm', '-f', web, client);
      expect((await tsvm('network', 'rm', id)).stdout).toBe(`${id}\n`);
    }
  });

  test('without a network there is a loopback interface only', async () => {
    const { stdout } = await tsvmRun(machine, ['--network', 'none', DEBIAN, 'ls', '/sys/class/net']);
    expect(stdout.trim().split('\n')).not.toContain('eth0');
  });

  test('a network that cannot be set up is a one-line error', async () => {
    await using server = await serve(machine, FILE_SERVER);
    const at = server.port;
    const cases: [string[], RegExp][] = [
      [['-p', `127.0.0.1:${at}:80`], new RegExp(`^tsvm: cannot publish port 127.0.0.1:${at}/tcp: it is in use\n$`)],
      [['--network', 'tap:nope0'], /^tsvm: interface nope0 is down, missing, or has no IPv4 address: [^\n]*\n$/],
    ];
    for (const [options, message] of cases) {
      const { code, stderr } = await tsvmRun(machine, [...options, DEBIAN, 'true']);
      expect(stderr).toMatch(message);
      expect(code).toBe(125);
    }
  });
});
