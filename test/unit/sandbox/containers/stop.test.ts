// Ending a container whose supervisor does not answer.
import { afterEach, expect, test, vi } from 'vitest';
import { killContainer } from '../../../../sandbox/containers/stop.js';
import type { ContainerFolder } from '../../../../sandbox/home/container-folder.js';

afterEach(() => vi.restoreAllMocks());

/** The folder of a container with this supervisor, which goes when it is killed. */
function supervisedBy(supervisorPid: number): ContainerFolder {
  let isSupervised = true;
  vi.spyOn(process, 'kill').mockImplementation(() => {
    isSupervised = false;
    return true;
  });
  const folder = { sockets: undefined, state: () => ({ supervisorPid }), isSupervised: () => isSupervised };
  return folder as unknown as ContainerFolder;
}

test('a supervisor that does not answer is killed', async () => {
  await killContainer(supervisedBy(4_000_000), 10);
  expect(process.kill).toHaveBeenCalledExactlyOnceWith(4_000_000, 9);
});

test('a process that reads the files of a container itself does not kill itself', async () => {
  await killContainer(supervisedBy(process.pid), 10);
  expect(process.kill).not.toHaveBeenCalled();
});
