// An owner on a host that gives it no watch of folders, for made-links.host.test.ts. Prints what its machine
// reads at the end of a connection with a member that has left: the number of bytes.
//     unwatched FOLDER
import * as libc from '../../../../vmm/host/libc.js';
import { MadeLinks } from '../../../../vmm/outside/made-links.js';
import { enterNetwork, leaveNetwork } from '../../../../vmm/outside/network-folder.js';

const [, , folder = ''] = process.argv;
const network = { name: 'lan', folder, names: [] };
enterNetwork(network, '198.19.0.10');
const { links } = enterNetwork(network, '198.19.0.11');
const fd = links.get('198.19.0.10')!.fd;
const made = new MadeLinks(folder, links);
leaveNetwork(network, '198.19.0.10');
const bytes = Buffer.alloc(10);
while (libc.read(fd, bytes, 10) < 0) await new Promise((resolve) => setTimeout(resolve, 50));
console.log(libc.read(fd, bytes, 10));
made[Symbol.dispose]();
