// Repositories, served over HTTP by git's own http-backend on a loopback address.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';

const ENV = {
  PATH: process.env.PATH,
  ...{ GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', HOME: '/nonexistent' },
  ...{ GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@b', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@b' },
  ...{ GIT_AUTHOR_DATE: '1234567890 +0000', GIT_COMMITTER_DATE: '1234567890 +0000' },
};

type Entry = readonly [mode: string, id: string, path: string];

/** A repository whose files are written and committed. */
export class Repository {
  /** The index is no longer what the folder has. */
  #hasEntries = false;

  constructor(
    readonly folder: string,
    readonly name: string,
  ) {
    mkdirSync(folder, { recursive: true });
    this.git('init', '-q', '-b', 'main');
  }

  git(...words: string[]): string {
    return this.#feed('', ...words);
  }

  #feed(input: string | Buffer, ...words: string[]): string {
    const options = { env: ENV, encoding: 'utf8', stdio: 'pipe', input } as const;
    return execFileSync('git', ['-C', this.folder, ...words], options).trim();
  }

  write(files: Readonly<Record<string, string>>): this {
    for (const [name, contents] of Object.entries(files)) {
      mkdirSync(dirname(join(this.folder, name)), { recursive: true });
      writeFileSync(join(this.folder, name), contents);
    }
    return this;
  }

  link(name: string, target: string): this {
    symlinkSync(target, join(this.folder, name));
    return this;
  }

  /** @returns the ID of the commit */
  commit(): string {
    if (!this.#hasEntries) this.git('add', '-A');
    this.git('commit', '-q', '-m', 'x');
    return this.git('rev-parse', 'HEAD');
  }

  /** Puts an entry that is no file of a folder into the index: a submodule's commit, or a path. */
  entry(mode: string, id: string, path: string): this {
    return this.entries([[mode, id, path]]);
  }

  entries(all: readonly Entry[]): this {
    if (!this.#hasEntries) this.git('add', '-A');
    this.#hasEntries = true;
    const lines = all.map(([mode, id, path]) => `${mode} ${id}\t${path}\n`);
    this.#feed(lines.join(''), 'update-index', '--index-info');
    return this;
  }

  /** Makes a tree as it is said, in this order. @returns its ID */
  tree(...entries: readonly Entry[]): string {
    const bytes = entries.map(([mode, id, name]) =>
      Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')]),
    );
    return this.#feed(Buffer.concat(bytes), 'hash-object', '-w', '-t', 'tree', '--literally', '--stdin');
  }
}

type Answer = (request: IncomingMessage, response: ServerResponse) => boolean;

export class GitServer implements Disposable {
  readonly #server: Server;
  /** What was asked for. */
  readonly asked: string[] = [];
  /** Answers in place of git, if it returns true. */
  answer: Answer = () => false;

  private constructor(readonly root: string) {
    this.#server = createServer((request, response) => {
      this.asked.push(`${request.method} ${request.url}`);
      if (!this.answer(request, response)) this.#serve(request, response);
    });
  }

  static async open(root: string): Promise<GitServer> {
    const server = new GitServer(root);
    await once(server.#server.listen(0, '127.0.0.1'), 'listening');
    return server;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  repository(name: string): Repository {
    return new Repository(join(this.root, `${name}.git`), name);
  }

  url(name: string): string {
    return `http://${this.host}/${name}.git`;
  }

  /** CGI (RFC 3875), as far as git needs it. */
  #serve(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', `http://${this.host}`);
    const child = spawn('git', ['http-backend'], {
      env: {
        ...ENV,
        ...{ GIT_PROJECT_ROOT: this.root, GIT_HTTP_EXPORT_ALL: '1', GIT_CONFIG_COUNT: '1' },
        ...{ GIT_CONFIG_KEY_0: 'safe.directory', GIT_CONFIG_VALUE_0: '*' },
        ...{ REQUEST_METHOD: request.method, QUERY_STRING: url.search.slice(1) },
        // http-backend takes x.git/info/refs for a bare repository or one with a .git.
        PATH_INFO: url.pathname.replace(/\.git\//, '.git/.git/'),
        CONTENT_TYPE: request.headers['content-type'],
        HTTP_CONTENT_ENCODING: request.headers['content-encoding'],
        GIT_PROTOCOL: request.headers['git-protocol'] as string | undefined,
      },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    request.pipe(child.stdin);
    child.stdin.on('error', () => {});
    let start = Buffer.alloc(0);
    const head = (chunk: Buffer) => {
      start = Buffer.concat([start, chunk]);
      const end = start.indexOf('\r\n\r\n');
      if (end < 0) return;
      child.stdout.off('data', head);
      const fields = start
        .subarray(0, end)
        .toString()
        .split('\r\n')
        .map((line) => line.split(': ', 2) as [string, string]);
      const status = Number(fields.find(([name]) => name === 'Status')?.[1].slice(0, 3) ?? 200);
      response.writeHead(status, Object.fromEntries(fields.filter(([name]) => name !== 'Status')));
      response.write(start.subarray(end + 4));
      child.stdout.pipe(response);
    };
    child.stdout.on('data', head);
    child.on('close', () => response.end());
  }

  [Symbol.dispose](): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
