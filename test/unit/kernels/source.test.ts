// Proves how a kernel's source is found, and its version read.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KernelError } from '../../../kernels/index.js';
import { choosePackage, findSource, treeVersion } from '../../../kernels/source.js';

let tree: string;
beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), 'linux-'));
});
afterEach(() => rmSync(tree, { recursive: true, force: true }));

const makefile = (text: string) => writeFileSync(join(tree, 'Makefile'), text);

describe('treeVersion', () => {
  it("is read from the tree's Makefile", () => {
    makefile('# SPDX\nVERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 99\nEXTRAVERSION =\nNAME = Curry Ramen\n');
    expect(treeVersion(tree)).toBe('6.1.99');
    makefile('VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 0\nEXTRAVERSION = -rc3\n');
    expect(treeVersion(tree)).toBe('6.12.0-rc3');
  });

  it('refuses a folder that is not a kernel source', () => {
    expect(() => treeVersion(tree)).toThrow(KernelError);
    makefile('all:\n\techo hello\n');
    expect(() => treeVersion(tree)).toThrow(/is not a kernel source tree/);
  });
});

describe('findSource', () => {
  it('uses a given tree unchanged', async () => {
    makefile('VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 99\n');
    expect(await findSource('guest', tree)).toEqual({ version: '6.1.99', path: tree, packed: false });
  });
});

describe('choosePackage', () => {
  const both = ['linux-source-6.1', 'linux-source-6.1.tar.xz', 'linux-source-6.12.tar.xz', 'linux-patch-6.12-rt.xz'];

  it("takes the kernel's own, beside an older and a newer one", () => {
    expect(choosePackage('guest', both)).toBe('linux-source-6.1');
    expect(choosePackage('uml', both)).toBe('linux-source-6.12');
  });

  it('takes the newest if its own is missing, but no older one', () => {
    expect(choosePackage('guest', ['linux-source-6.9.tar.xz', 'linux-source-6.12.tar.xz'])).toBe('linux-source-6.12');
    expect(choosePackage('uml', ['linux-source-6.1.tar.xz'])).toBeUndefined();
    expect(choosePackage('guest', [])).toBeUndefined();
  });
});
