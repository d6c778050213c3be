// Owners of files if the file server is root: it creates a file as the user that the guest names.
import { constants as fs, lstatSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FuseGuest } from '../../../../fixtures/fuse-guest.js';

test('files have the same users in the guest as on the host', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-fs-'));
  using guest = FuseGuest.mount([{ path: folder, readOnly: false }]);
  try {
    const root = guest.share(0);
    guest.uid = 1234;
    guest.gid = 4321;
    const file = guest.create(root, 'file', fs.O_RDWR).entry;
    const directory = guest.mkdir(root, 'directory');
    const unnamed = guest.createUnnamed(root, fs.O_RDWR).entry;
    for (const made of [file, directory, guest.symlink(root, 'link', 'x'), unnamed]) {
      expect(made).toMatchObject({ uid: 1234, gid: 4321 });
    }
    expect(guest.setattr(file.node, { uid: 5 })).toMatchObject({ uid: 5, gid: 4321 });
    expect(guest.setattr(file.node, { gid: 6 })).toMatchObject({ uid: 5, gid: 6 });
    expect(lstatSync(join(folder, 'link')).uid).toBe(1234);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
