// The owner of a machine, for launcher.host.test.ts, where the exploit runs in its companion's place:
// with the jail, the descriptors and the filter that QEMU gets, or the kernel of User-Mode Linux.
// Prints what owner.mjs prints.
//     companion-owner FOLDER EXPLOIT qemu|qemu-disks|uml
// `qemu-disks` is the QEMU of a machine without a network.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { readyEmulator } from '../../../sandbox/machine/emulator.js';
import { MachineFiles } from '../../../sandbox/machine/machine-files.js';
import { readyUml } from '../../../sandbox/machine/uml.js';
import { COMPANION_CONSOLE, COMPANION_START, type MachineSpec, type NetworkSpec } from '../../../vmm/machine.js';

const MARK = 'THE ARGUMENTS ARE WRITTEN HERE';
const [, , folder = '', exploit = '', place] = process.argv;

writeFileSync(`${folder}/secret`, 'a secret');
mkdirSync(`${folder}/shared`);
const abstract = `tsvm-exploit-${process.pid}`;
const tcp = createServer().listen(0, '127.0.0.1');
const servers: Server[] = [tcp, createServer().listen(`${folder}/socket`), createServer().listen(`\0${abstract}`)];
await Promise.all(servers.map((server) => once(server, 'listening')));
spawnSync(exploit, ['make-shared-memory']);
openSync(`${folder}/secret`, 'r');
process.env.SECRET_TOKEN = 'a secret';

const network = place === 'qemu-disks' ? {} : { network: { mac: '02:00:00:00:00:01', mtu: 1500 } as NetworkSpec };
// Beside the folder, which is not in the jail.
const outside = mkdtempSync('/tmp/tsvm-companion-');
// Root's jail has a user of its own.
chmodSync(outside, 0o755);
const path = `${outside}/program`;
writeFileSync(`${outside}/initramfs`, 'an archive');
const spec = {
  ...{ accel: 'uml', kernel: path, initramfs: `${outside}/initramfs`, console: false, commandLine: '' },
  ...{ cpus: 1, memory: 64 * 2 ** 20, disks: [{}], vsock: { guestCid: 3, path: `${folder}/vsock` }, ...network },
} as unknown as MachineSpec;
// QEMU: guest memory, firmware, log, and a socket for each of three or four devices. User-Mode Linux:
// the file of its devices' socket, and the initial RAM file system.
const LAST = { qemu: 10, 'qemu-disks': 9, uml: 5 };
const last = LAST[place as keyof typeof LAST];
const address = tcp.address();
const port = typeof address === 'object' ? address?.port : undefined;
const words = [process.pid, port, abstract, `${folder}/socket`, folder, `4-${last}`].join('\n');
const program = readFileSync(exploit);
program.write(`${words}\0`, program.indexOf(MARK), 'latin1');
writeFileSync(path, program);
chmodSync(path, 0o755);

using files = new MachineFiles();
using companion = place === 'uml' ? readyUml(spec, files, true) : readyEmulator(spec, files, { path });
const report = await companion.report;
const fileOf = (name: string): number => {
  const [portion] = files.all;
  return portion!.descriptors[portion!.names.indexOf(name)]!;
};
// Without a jail, the launcher of User-Mode Linux has ended.
if (report !== undefined) writeSync(fileOf(COMPANION_START), '\n');
const { exitCode = null, said } = await companion.ended;
const stdout = readFileSync(`/proc/self/fd/${fileOf(COMPANION_CONSOLE)}`, 'latin1');
spawnSync(exploit, ['remove-shared-memory']);
rmSync(outside, { recursive: true });
const lines = stdout.split('\n').filter((line) => line !== '');
const attempts = Object.fromEntries(lines.map((line) => line.split(' ')));
console.log(JSON.stringify({ attempts, report: report ?? null, status: exitCode, stderr: said }));
process.exit(0);
