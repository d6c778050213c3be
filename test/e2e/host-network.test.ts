// Containers reach the network on hosts with a tap interface, with IPv6 only, and with IPv4 only.
// Each such host is a network namespace in which the test is root.
import { describe, expect, test } from 'vitest';
import { fastest, isLab, type Machine, machines, PYTHON, run, TSVM } from './machine.js';

/** Runs a Python program in a network namespace of its own, which ends with the program. */
function inNetwork(machine: Machine, setUp: readonly string[], program: string, ...words: string[]) {
  const namespaces = ['--map-root-user', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const lines = ['mount -t sysfs sysfs /sys', 'ip link set lo up', ...setUp, 'exec /usr/bin/python3 -c "$@"'];
  return run(machine, ['unshare', ...namespaces, 'sh', '-ec', lines.join('\n'), 'sh', program, ...words]);
}

const TAP = ['ip tuntap add tap0 mode tap', 'ip addr add 192.168.77.1/24 dev tap0', 'ip link set tap0 up'];

/**
 * Sends as many MB over a connection as the last argument says, while it receives as many. Returns
 * what was sent and received.
 */
const EXCHANGE = `
import hashlib, os, socket, subprocess, sys, threading
def exchange(connection):
  # Each block differs by its number. Random bytes for each would be slow under emulation.
  noise = os.urandom(999_992)
  data = b''.join(number.to_bytes(8, 'big') + noise for number in range(int(sys.argv[-1])))
  def send(): connection.sendall(data); connection.shutdown(socket.SHUT_WR)
  sender = threading.Thread(target=send); sender.start()
  received = hashlib.blake2b(digest_size=16)
  while block := connection.recv(1 << 18): received.update(block)
  sender.join()
  return hashlib.blake2b(data, digest_size=16).hexdigest(), received.hexdigest()
`;

/** Repeats `attempt` while it times out, for as long as the container runs. */
const WHILE_IT_RUNS = `
import socket, subprocess, sys
def wait(attempt):
  while True:
    try: return attempt()
    except TimeoutError:
      if container.poll() is not None: sys.exit(f'the container ended with {container.returncode}')
`;

/**
 * The host's end of the exchange. Argument 1 is its address, the others are the container's command.
 * Prints the result and in which ways frames passed that are longer than the MTU. Their number says
 * less: a slow sender makes shorter ones.
 */
const HOST_OF_EXCHANGE = `${EXCHANGE}${WHILE_IT_RUNS}
import ctypes, struct
# The kernel drops any other frame: A = length; if A > 14 + 1500 keep 1 byte, else none.
steps = (0x80, 0, 0, 0), (0x25, 0, 1, 1514), (0x06, 0, 0, 1), (0x06, 0, 0, 0)
program = ctypes.create_string_buffer(b''.join(struct.pack('=HBBI', *step) for step in steps))
long = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
long.setsockopt(socket.SOL_SOCKET, 26, struct.pack('@HP', len(steps), ctypes.addressof(program)))
long.bind(('tap0', 3))
long.setblocking(False)
def frames():
  while True:
    # 4 is PACKET_OUTGOING.
    try: yield 'out' if long.recvfrom(1)[1][2] == 4 else 'in'
    except BlockingIOError: return
listener = socket.create_server((sys.argv[1], 5000))
container = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, text=True)
listener.settimeout(1)
connection, peer = wait(listener.accept)
connection.settimeout(None)
ways, ended = set(), threading.Event()
def watch():
  while not ended.wait(0.1): ways.update(frames())
watcher = threading.Thread(target=watch); watcher.start()
sent, received = exchange(connection)
ended.set(); watcher.join(); ways.update(frames())
print(peer[0], [received, sent] == container.communicate()[0].split(), container.returncode, *sorted(ways))`;

// The timeout is for the connection only: Python's sendall() would apply it to all that it sends.
const GUEST_OF_EXCHANGE = `${EXCHANGE}
connection = socket.create_connection((sys.argv[1], 5000), timeout=60)
connection.settimeout(None)
print(*exchange(connection))`;

/**
 * The host's end of a tap interface. Collects the name in `FRAME<name>` of each frame that arrives,
 * up to the frame named `the last`, and prints the names.
 */
const HOST_OF_FRAMES = `${WHILE_IT_RUNS}
import re
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(('tap0', 0))
wire.settimeout(1)
container = subprocess.Popen(sys.argv[1:])
seen = []
while 'the last' not in seen:
  frame, (interface, protocol, kind, *rest) = wait(lambda: wire.recvfrom(1 << 16))
  # 4 (PACKET_OUTGOING) marks a frame that this host sent.
  if kind != 4: seen += [name.decode() for name in re.findall(rb'FRAME<(.*?)>', frame)]
print(seen, container.wait())`;

/** Sends hostile frames, as root of the container can. Each has a name of its own. */
const GUEST_OF_FRAMES = `
import socket, struct
own, host = b'\\xc0\\xa8\\x4d\\x02', b'\\xc0\\xa8\\x4d\\x01'
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); wire.bind(('eth0', 0))
mac = wire.getsockname()[4]
# A datagram to the host makes the kernel look up its hardware address.
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'FRAME<hello>', ('192.168.77.1', 5000))
gateway = next(bytes.fromhex(line.split()[3].replace(':', '')) for attempt in iter(int, 1) for line in open('/proc/net/arp')
  if line.startswith('192.168.77.1 ') and line.split()[2] != '0x0')
def total(data): return sum(struct.unpack('>%dH' % (len(data) // 2), data))
def udp(name, to=host, port=5000, source=own, fragment=0, options=b'', protocol=17):
  data = b'FRAME<' + name + b'>'
  data += b'.' * (len(data) % 2)
  segment = struct.pack('>HHHH', 5000, port, 8 + len(data), 0) + data
  head = struct.pack('>BBHHHBBH', 0x45 + len(options) // 4, 0, 20 + len(options) + len(segment), 1, fragment, 64, protocol, 0)
  head += source + to + options
  sum16 = total(head); sum16 = (sum16 & 0xffff) + (sum16 >> 16)
  return head[:10] + struct.pack('>H', 0xffff & ~sum16) + head[12:] + segment
def send(packet, kind=0x0800, to=gateway, source=mac): wire.send(to + source + struct.pack('>H', kind) + packet)
def udp6(name, to, source, header=17):
  data = b'FRAME<' + name + b'>'
  return struct.pack('>IHBB', 0x60000000, 8 + len(data), header, 64) + socket.inet_pton(socket.AF_INET6, source) + \\
    socket.inet_pton(socket.AF_INET6, to) + struct.pack('>HHHH', 5000, 5000, 8 + len(data), 1) + data
send(udp(b'another port', port=5001))
send(udp(b'metadata', b'\\xa9\\xfe\\xa9\\xfe'))
send(udp(b'neighbour', b'\\xc0\\xa8\\x4d\\x03'))
send(udp(b'spoofed', source=b'\\xc0\\xa8\\x4d\\x03'))
send(udp(b'spoofed hardware'), source=b'\\x02' * 6)
send(udp(b'next hop'), to=b'\\x02' * 6)
send(udp(b'broadcast'), to=b'\\xff' * 6)
send(udp(b'fragment', fragment=0x2000))
send(udp(b'later fragment', fragment=9))
send(udp(b'source route', options=b'\\x83\\x07\\x04' + host + b'\\x00'))
send(udp(b'another protocol', protocol=47))
send(struct.pack('>HH', 1, 0x0800) + udp(b'VLAN'), 0x8100)
send(b'FRAME<anything>' + bytes(60), 0x88b5)
# The interface's own address comes some time after the interface.
local = next(line.split()[0] for attempt in iter(int, 1) for line in open('/proc/net/if_inet6')
  if line.rstrip().endswith('eth0'))
local = ':'.join(local[at:at + 4] for at in range(0, 32, 4))
for to in ['2606:4700::1', 'fe80::1', 'ff02::1', '::ffff:192.168.77.1', '64:ff9b::c0a8:4d01']:
  send(udp6(to.encode(), to, local), 0x86dd)
send(udp6(b'hop by hop', 'fe80::1', local, 0), 0x86dd)
claim = struct.pack('>HHBBH', 1, 0x0800, 6, 4, 2) + mac + host + b'\\x02' * 6 + host
send(claim + b'FRAME<claim>', 0x0806, b'\\xff' * 6)
question = struct.pack('>HHBBH', 1, 0x0800, 6, 4, 1) + mac + own + bytes(6) + host
send(question + b'FRAME<behind a question>', 0x0806, b'\\xff' * 6)
send(udp(b'as it should be'))
send(udp(b'the last') + b'FRAME<behind a packet>')`;

/** Accepts one connection and sends the peer its own address. */
const GREETER = `
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], 5000), family=family)
print('ready', flush=True)
connection, peer = listener.accept()
connection.sendall(peer[0].encode())`;

/** Connects out, then answers as many requests as argument 2 says. */
const GUEST_OF_SERVER = `
import http.server, socket, sys
print(socket.create_connection((sys.argv[1], 5000), timeout=60).recv(100).decode(), flush=True)
http.server.HTTPServer.address_family = socket.AF_INET6
server = http.server.HTTPServer(('::', 80), http.server.SimpleHTTPRequestHandler)
for request in range(int(sys.argv[2])): server.handle_request()`;

/** Serves argument 1 as the address of www.example by DNS, and accepts connections at port 443. */
const NAME_SERVER = `
import socket, struct, sys, threading
address = sys.argv[1]
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); names.bind((address, 53))
listener = socket.create_server((address, 443))
def answer():
  while True:
    query, peer = names.recvfrom(4096)
    end = query.index(b'\\0', 12) + 5
    known = query[12:end - 5] == b'\\x03www\\x07example' and query[end - 4:end - 2] == b'\\0\\1'
    record = b'\\xc0\\x0c' + struct.pack('>HHIH', 1, 1, 60, 4) + socket.inet_aton(address) if known else b''
    names.sendto(query[:2] + struct.pack('>HHHHH', 0x8180, 1, known, 0, 0) + query[12:end] + record, peer)
threading.Thread(target=answer, daemon=True).start()
print('ready', flush=True)
while True: listener.accept()[0].close()`;

/** Connects to each argument. Prints the results on one line. */
const GUEST_OF_NAMES = `
import socket, sys
def attempt(word):
  host, port = word.split(':')
  try: socket.create_connection((host, int(port)), timeout=60).close(); return 'connected'
  except OSError as error: return type(error).__name__
print(*map(attempt, sys.argv[1:]), flush=True)`;

const FETCH = `
import sys, time, urllib.request
for attempt in range(3000):
  try: sys.exit(print(sys.argv[1], urllib.request.urlopen(sys.argv[1], timeout=60).status))
  except OSError as error: last = error; time.sleep(0.2)
print(sys.argv[1], last)`;

/**
 * Runs a container that connects to `address`, which is outside. Fetches each URL from it: those of
 * a loopback address from the host, the others from outside.
 */
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

/** Connects to each address read from stdin, and prints the result. */
const GUEST_OF_ADDRESSES = `
import socket, sys
for address in sys.stdin:
  try: socket.create_connection((address.strip(), 5000), timeout=60).close(); print('connected', flush=True)
  except OSError as error: print(type(error).__name__, flush=True)`;

/**
 * Serves on all addresses of the host, one of which is added while the container runs. Prints how
 * the container's attempts to connect ended.
 */
const HOST_OF_ADDRESSES = `
import socket, subprocess, sys, time
listener = socket.create_server(('0.0.0.0', 5000))
wanted, *words = sys.argv[1:]
container = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def attempt(address):
  container.stdin.write(address + '\\n'); container.stdin.flush()
  return container.stdout.readline().strip()
ends = [attempt('203.0.113.77')]
subprocess.run(['ip', 'addr', 'add', '203.0.113.88/32', 'dev', 'lo'], check=True)
# Wait until the device looks again: the longer a look takes, the less often it does.
for again in range(60):
  end = attempt('203.0.113.88')
  if end == wanted: break
  time.sleep(1)
container.stdin.close()
print(*ends, end, container.wait())`;

const outside = (command: string) => `nsenter --net --target $OUTSIDE ip ${command}`;

/** Addresses outside, behind a router: a host's neighbours are closed to its containers. */
const OUTSIDE = { ipv4: '198.51.100.7', ipv6: '2606:4700::7' };

/**
 * Set-up of a veth pair: `out0` here is the way out, `in0` is in another network namespace, which has
 * the addresses of OUTSIDE.
 */
const cable = (...addresses: string[]) => [
  'unshare --net sleep infinity & export OUTSIDE=$!',
  // Wait until the process has entered its network namespace.
  'while [ "$(readlink /proc/self/ns/net)" = "$(readlink /proc/$OUTSIDE/ns/net)" ]; do sleep 0.1; done',
  'ip link add out0 type veth peer name in0',
  'ip link set in0 netns $OUTSIDE',
  outside('link set lo up'),
  outside(`addr add ${OUTSIDE.ipv4}/32 dev lo`),
  outside(`addr add ${OUTSIDE.ipv6}/128 dev lo`),
  ...addresses,
];

describe.each(machines)('on $name', (machine) => {
  // Each megabyte takes seconds in the lab. Five fill each ring of 256 buffers some times over.
  const megabytes = isLab(machine) ? 5 : 20;

  test(`${megabytes} MB pass a tap interface both ways, in frames longer than its MTU`, async () => {
    const options = ['run', '--rm', '--network', 'tap:tap0', '--allow-net', 'host-gateway:5000', PYTHON];
    const words = ['python3', '-c', GUEST_OF_EXCHANGE, '192.168.77.1', String(megabytes)];
    const container = [TSVM, ...options, ...words];
    const { stdout, stderr } = await inNetwork(machine, TAP, HOST_OF_EXCHANGE, '192.168.77.1', ...container);
    expect({ stdout, stderr }).toEqual({ stdout: '192.168.77.2 True 0 in out\n', stderr: '' });
  });
});

describe.each(fastest)('on $name', (machine) => {
  test('forbidden frames of a container do not reach the wire', async () => {
    const options = ['run', '--rm', '--network', 'tap:tap0', '--allow-net', 'host-gateway:5000', PYTHON];
    const container = [TSVM, ...options, 'python3', '-c', GUEST_OF_FRAMES];
    const { stdout, stderr } = await inNetwork(machine, TAP, HOST_OF_FRAMES, ...container);
    expect({ stdout, stderr }).toEqual({ stdout: "['hello', 'as it should be', 'the last'] 0\n", stderr: '' });
  });

  test("the host's addresses, new ones included, are closed on any interface unless a rule names them", async () => {
    const setUp = ['ip addr add 203.0.113.77/32 dev lo'];
    const attempt = async (wanted: string, ...options: string[]) => {
      const container = [TSVM, 'run', '--rm', '-i', ...options, PYTHON, 'python3', '-c', GUEST_OF_ADDRESSES];
      expect((await inNetwork(machine, setUp, HOST_OF_ADDRESSES, wanted, ...container)).stdout).toBe(
        `${wanted} ${wanted} 0\n`,
      );
    };
    await attempt('ConnectionRefusedError', '--network', 'default');
    const named = ['203.0.113.77', '203.0.113.88'].flatMap((address) => ['--allow-net', address]);
    await attempt('connected', ...named);
  });

  test('a host with IPv6 only lets containers out, and serves their published ports', async () => {
    const setUp = cable(
      'ip addr add 2001:db8::2/64 dev out0 nodad',
      outside('addr add 2001:db8::1/64 dev in0 nodad'),
      outside('link set in0 up'),
      'ip link set out0 up',
      'ip -6 route add default via 2001:db8::1',
    );
    const urls = ['http://[::1]:8080/etc/', 'http://127.0.0.1:8080/etc/', 'http://[2001:db8::2]:8080/etc/'];
    const options = ['run', '--rm', '-p', '8080:80', PYTHON];
    const container = [TSVM, ...options, 'python3', '-c', GUEST_OF_SERVER, OUTSIDE.ipv6, String(urls.length)];
    const words = [GREETER, FETCH, OUTSIDE.ipv6, urls.join(' '), ...container];
    const { stdout } = await inNetwork(machine, setUp, HOST_OF_SERVER, ...words);
    expect(stdout).toBe(`2001:db8::2\n${urls.map((url) => `${url} 200\n`).join('')}`);
  });

  test("a name of a rule is resolved by the container's own name server, and opens its address", async () => {
    const setUp = cable(
      'ip addr add 203.0.113.2/24 dev out0',
      outside('addr add 203.0.113.1/24 dev in0'),
      outside('link set in0 up'),
      'ip link set out0 up',
      'ip route add default via 203.0.113.1',
    );
    const options = ['run', '--rm', '--dns', OUTSIDE.ipv4, '--allow-net', 'www.example:443', PYTHON];
    const tries = [
      `${OUTSIDE.ipv4}:443`,
      'www.example:443',
      `${OUTSIDE.ipv4}:443`,
      'www.example:80',
      'other.example:443',
    ];
    const container = [TSVM, ...options, 'python3', '-c', GUEST_OF_NAMES, ...tries];
    const { stdout } = await inNetwork(
      machine,
      setUp,
      HOST_OF_SERVER,
      NAME_SERVER,
      FETCH,
      OUTSIDE.ipv4,
      '',
      ...container,
    );
    expect(stdout).toBe('ConnectionRefusedError connected connected ConnectionRefusedError gaierror\n');
  });

  test('a host with IPv4 only does too, and refuses to publish an IPv6 port', async () => {
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
    const container = [TSVM, ...options, 'python3', '-c', GUEST_OF_SERVER, OUTSIDE.ipv4, String(urls.length)];
    const words = [GREETER, FETCH, OUTSIDE.ipv4, urls.join(' '), ...container];
    const { stdout } = await inNetwork(machine, setUp, HOST_OF_SERVER, ...words);
    expect(stdout).toBe(`203.0.113.2\n${urls.map((url) => `${url} 200\n`).join('')}`);
    const run = 'import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)';
    const refused = await inNetwork(machine, setUp, run, TSVM, 'run', '--rm', '-p', '[::1]:8080:80', PYTHON, 'true');
    expect(refused.stderr).toBe('tsvm: cannot publish port [::1]:8080/tcp: no route of the host leads out by IPv6\n');
    expect(refused.code).toBe(125);
  });
});
