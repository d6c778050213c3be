// Builds in a home and a context of their own, without machines, and what came of them.
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseIgnore } from '../../../build/context/ignore.js';
import { type BuildOptions, build, type StepEvent } from '../../../build/index.js';
import { buildStore, type Inode, type Json, type LayerTree } from '../../../images/build.js';
import { Home } from '../../../sandbox/index.js';

/** An image that was built. */
export interface Made {
  id: string;
  /** The image config. */
  image: Json;
  config: Json;
  layers: string[];
  events: StepEvent[];
  /**
   * A line for each file, without times: `755 0:0 /d/`, `644 0:0 /f "contents"`, `/l -> target`. Files
   * of more than 1 KiB have a digest in place of their contents.
   */
  files(): Promise<string[]>;
}

export class Workshop implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'tsvm-build-'));
  readonly home = new Home(join(this.folder, 'home'), join(this.folder, 'run'));

  /** Path of the context's folder. */
  get context(): string {
    return join(this.folder, 'context');
  }

  /** Writes files into the context. */
  write(files: Readonly<Record<string, string>>): void {
    for (const [name, contents] of Object.entries(files)) {
      const path = join(this.context, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, contents, { mode: 0o644 });
    }
  }

  async build(dockerfile: string, options: Partial<BuildOptions> & { ignoring?: string } = {}): Promise<Made> {
    const { id, events } = await this.buildAll(dockerfile, options);
    return made(this.home, id, events);
  }

  /** Builds an image, or an index of several platforms. */
  async buildAll(
    dockerfile: string,
    options: Partial<BuildOptions> & { ignoring?: string } = {},
  ): Promise<{ id: string; events: StepEvent[] }> {
    mkdirSync(this.context, { recursive: true });
    const { ignoring, ...others } = options;
    const events: StepEvent[] = [];
    const { id } = await build({
      home: this.home,
      dockerfile,
      context: this.context,
      ...(ignoring !== undefined && { ignore: parseIgnore(Buffer.from(ignoring), '.dockerignore') }),
      onEvent: (event) => events.push(event),
      ...others,
    });
    return { id, events };
  }

  /** An image that another program has built. */
  async open(reference: string): Promise<Made> {
    return made(this.home, (await this.home.images.resolve(reference)).digest);
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** An image of a home. */
export function made(home: Home, id: string, events: StepEvent[] = []): Made {
  const store = buildStore(home.path);
  const { config: image, layers } = store.base(id);
  return { id, image, config: image.config as Json, layers, events, files: () => describe(store.tree(layers)) };
}

async function describe(tree: LayerTree): Promise<string[]> {
  const lines: string[] = [];
  const visit = async (inode: Inode, path: string): Promise<void> => {
    const { kind, mode, uid, gid, target, children } = inode;
    const metadata = `${mode.toString(8)} ${uid}:${gid}`;
    if (kind === 'directory') {
      if (path !== '') lines.push(`${metadata} ${path}/`);
      for (const [name, child] of [...children].sort(([a], [b]) => (a < b ? -1 : 1))) {
        await visit(child.inode, `${path}/${name}`);
      }
    } else if (kind === 'symlink') lines.push(`${path} -> ${target}`);
    else if (kind === 'file') {
      const chunks: Buffer[] = [];
      for await (const chunk of tree.read(inode)) chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      const contents =
        bytes.length > 1024 ? createHash('sha256').update(bytes).digest('hex') : JSON.stringify(bytes.toString());
      lines.push(`${metadata} ${path} ${contents}`);
    } else lines.push(`${metadata} ${path} ${kind}`);
  };
  await visit(tree.root, '');
  return lines;
}
