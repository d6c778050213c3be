// A machine process without a jail, for tests and benchmarks that start it themselves.
import type { Socket } from 'node:net';
import { passDescriptors } from '../../libc/pass-descriptors.js';
import { descriptorOf, filesLine, isRead, lineOf, tryPass } from './control-channel.js';
import { MachineEvents } from './machine-events.js';
import type { MachineOutside } from './outside.js';

/** Boots a process that is not jailed, and got nothing before, and connects for it. */
export function bootUnjailed(control: Socket, outside: MachineOutside): void {
  const { files, spec, companion } = outside;
  outside.events = {
    isRead: () => isRead(control),
    onAnswer: (answer, sockets) => tryPass(control, answer, sockets),
  };
  const events = new MachineEvents();
  control.on('data', (chunk: Buffer) => {
    for (const event of events.read(chunk)) {
      if (event.type === 'connect') outside.connect(event.asked);
      if (event.type === 'arrivals') outside.arrivals(event.published);
    }
  });
  for (const portion of files.all) {
    passDescriptors(descriptorOf(control), portion.descriptors, Buffer.from(filesLine(portion)));
  }
  // The machine runs the companion while it has the pipe for that.
  files[Symbol.dispose]();
  control.write(lineOf({ type: 'boot', spec }));
  companion?.ended.then((end) => control.writable && control.write(lineOf({ type: 'companion-ended', end })));
  // It would wait for a machine process that is gone.
  control.once('close', () => companion?.kill());
}
