// Networks of hosts of other kinds than the one that tests run on: with a tap interface, with IPv6 alone, with IPv4 alone.
// Each is a network namespace, where whoever tests is root.
import { describe, expect, test } from 'vitest';
import { type Machine, machines, PYTHON, run, TSVM } from './machine.js';

/** Runs a Python program in a network of its own, which ends with it. */
function inNetwork(machine: Machine, setUp: readonly string[], program: string, ...words: string[]) {
  const namespaces = ['--map-root-user', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const lines = ['mount -t sysfs sysfs /sys', 'ip link set lo up', ...setUp, 'exec /usr/bin/python3 -c "$@"'];
  return run(machine, ['unshare', ...namespaces, 'sh', '-ec', lines.join('\n'), 'sh', program, ...words]);
}

/** Sends 20 MB by a connection and receives as many at the same time; what was sent and received. */
const EXCHANGE = `
import hashlib, os, socket, subprocess, sys, threading
def exchange(connection):
  data = os.urandom(20_000_000)
  def send(): connection.sendall(data); connection.shutdown(socket.SHUT_WR)
  sender = threading.Thread(target=send); sender.start()
  received = hashlib.sha256()
  while block := connection.recv(1 << 16): received.update(block)
  sender.join()
  return hashlib.sha256(data).hexdigest(), received.hexdigest()
`;

/** The host's end of the exchange with a container, whose words begin with the second; how many frames it took. */
const HOST_OF_EXCHANGE = `${EXCHANGE}
listener = socket.create_server((sys.argv[1], 5000))
container = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, text=True)
connection, peer = listener.accept()
sent, received = exchange(connection)
print(peer[0], [received, sent] == container.communicate()[0].split(), container.returncode)
print(*(open(f'/sys/class/net/tap0/statistics/{way}_packets').read().strip() for way in ('rx', 'tx')))`;

const GUEST_OF_EXCHANGE = `${EXCHANGE}
print(*exchange(socket.create_connection((sys.argv[1], 5000), timeout=60)))`;

/** Says once who connected, to whoever it is. */
const GREETER = `
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], 5000), family=family)
print('ready', flush=True)
connection, peer = listener.accept()
connection.sendall(peer[0].encode())`;

/** Connects out, and then answers so many requests. */
const GUEST_OF_SERVER = `
import http.server, socket, sys
print(socket.create_connection((sys.argv[1], 5000), timeout=60).recv(100).decode(), flush=True)
http.server.HTTPServer.address_family = socket.AF_INET6
server = http.server.HTTPServer(('::', 80), http.server.SimpleHTTPRequestHandler)
for request in range(int(sys.argv[2])): server.handle_request()`;

const FETCH = `
import sys, time, urllib.request
for attempt in range(100):
  try: sys.exit(print(sys.argv[1], urllib.request.urlopen(sys.argv[1], timeout=60).status))
  except OSError as error: last = error; time.sleep(0.2)
print(sys.argv[1], last)`;

/** Runs a container that connects out and is connected to, from the host itself and from outside, where an address is. */
const HOST_OF_SERVER = `
import os, subprocess, sys
greeter, fetch, address, urls, *words = sys.argv[1:]
outside = ['nsenter', '--net', '--target', os.environ['OUTSIDE'], '/usr/bin/python3', '-c']
server = subprocess.Popen([*outside, greeter, address], stdout=subprocess.PIPE)
server.stdout.readline()
container = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
print(container.stdout.readline(), end='', flush=True)
for url in urls.split():
  here = '127.0.0.1' in url or '[::1]' in url
  subprocess.run([*(['/usr/bin/python3', '-c'] if here else outside), fetch, url])
container.wait()`;

/** A way out by a cable of two interfaces, the other of which is in a network of its own. */
const cable = (...addresses: string[]) => [
  'unshare --net sleep infinity & export OUTSIDE=$!',
  // Until it is in its network.
  'while [ "$(readlink /proc/self/ns/net)" = "$(readlink /proc/$OUTSIDE/ns/net)" ]; do sleep 0.1; done',
  'ip link add out0 type veth peer name in0',
  'ip link set in0 netns $OUTSIDE',
  ...addresses,
];

const outside = (command: string) => `nsenter --net --target $OUTSIDE ip ${command}`;

describe.each(machines)('on $name', (machine) => {
  test('20 MB pass a tap interface both ways, in frames longer than its own', async () => {
    const setUp = ['ip tuntap add tap0 mode tap', 'ip addr add 192.168.77.1/24 dev tap0', 'ip link set tap0 up'];
    const options = ['run', '--rm', '--network', 'tap:tap0', '--allow-net', 'host-gateway:5000', PYTHON];
    const container = [TSVM, ...options, 'python3', '-c', GUEST_OF_EXCHANGE, '192.168.77.1'];
    const { stdout, stderr } = await inNetwork(machine, setUp, HOST_OF_EXCHANGE, '192.168.77.1', ...container);
    const [exchanged, frames] = stdout.split('\n');
    expect({ exchanged, stderr }).toEqual({ exchanged: '192.168.77.2 True 0', stderr: '' });
    for (const count of frames.split(' ')) expect(Number(count)).toBeLessThan(20_000_000 / 1500);
  });

  test('a host that has IPv6 alone leads containers out, and to published ports', async () => {
    const setUp = cable(
      'ip addr add 2001:db8::2/64 dev out0 nodad',
      outside('addr add 2001:db8::1/64 dev in0 nodad'),
      outside('link set in0 up'),
      'ip link set out0 up',
      'ip -6 route add default via 2001:db8::1',
    );
    const urls = ['http://[::1]:8080/etc/', 'http://127.0.0.1:8080/etc/', 'http://[2001:db8::2]:8080/etc/'];
    const options = ['run', '--rm', '-p', '8080:80', PYTHON];
    const container = [TSVM, ...options, 'python3', '-c', GUEST_OF_SERVER, '2001:db8::1', String(urls.length)];
    const words = [GREETER, FETCH, '2001:db8::1', urls.join(' '), ...container];
    const { stdout } = await inNetwork(machine, setUp, HOST_OF_SERVER, ...words);
    expect(stdout).toBe(`2001:db8::2\n${urls.map((url) => `${url} 200\n`).join('')}`);
  });

  test('a host that has IPv4 alone does too, and has no port of IPv6 to publish', async () => {
    const setUp = cable(
      'echo 1 > /proc/sys/net/ipv6/conf/out0/disable_ipv6',
      'ip addr add 203.0.113.2/24 dev out0',
      outside('addr add 203.0.113.1/24 dev in0'),
      outside('link set in0 up'),
      'ip link set out0 up',
      'ip route add default via 203.0.113.1',
    );
    const urls = ['http://127.0.0.1:8080/etc/', 'http://203.0.113.2:8080/etc/'];
    const options = ['run', '--rm', '-p', '8080:80', PYTHON];
    const container = [TSVM, ...options, 'python3', '-c', GUEST_OF_SERVER, '203.0.113.1', String(urls.length)];
    const words = [GREETER, FETCH, '203.0.113.1', urls.join(' '), ...container];
    const { stdout } = await inNetwork(machine, setUp, HOST_OF_SERVER, ...words);
    expect(stdout).toBe(`203.0.113.2\n${urls.map((url) => `${url} 200\n`).join('')}`);
    const run = 'import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)';
    const refused = await inNetwork(machine, setUp, run, TSVM, 'run', '--rm', '-p', '[::1]:8080:80', PYTHON, 'true');
    expect(refused.stderr).toBe('tsvm: cannot publish port [::1]:8080/tcp: no route of the host leads out by IPv6\n');
    expect(refused.code).toBe(125);
  });
});
