// The commands by name. A command's file is loaded when it is the one that runs.
import type { Command } from 'commander';
import type { Context } from './commands/command.js';

interface CommandModule {
  command(context: Context): Command;
}

interface CommandEntry {
  summary: string;
  load: () => Promise<CommandModule>;
}

export const COMMANDS: Record<string, CommandEntry> = {
  run: { summary: 'run a command in a new container', load: () => import('./commands/container/run.js') },
  create: { summary: 'make a container', load: () => import('./commands/container/create.js') },
  start: { summary: 'start containers', load: () => import('./commands/container/start.js') },
  stop: { summary: 'stop containers', load: () => import('./commands/container/stop.js') },
  restart: { summary: 'stop containers and start them', load: () => import('./commands/container/restart.js') },
  kill: { summary: 'send a signal to containers', load: () => import('./commands/container/kill.js') },
  wait: { summary: 'wait until containers end', load: () => import('./commands/container/wait.js') },
  rm: { summary: 'remove containers', load: () => import('./commands/container/rm.js') },
  rename: { summary: 'give a container another name', load: () => import('./commands/container/rename.js') },
  exec: { summary: 'run a command in a running container', load: () => import('./commands/container/exec.js') },
  attach: { summary: 'attach to a running container', load: () => import('./commands/container/attach.js') },
  pause: { summary: 'stop the processors of containers', load: () => import('./commands/container/pause.js') },
  unpause: {
    summary: 'let paused containers go on',
    load: async () => ({ command: (await import('./commands/container/pause.js')).unpause }),
  },
  cp: { summary: 'copy files between host and container', load: () => import('./commands/container/cp.js') },
  diff: { summary: 'show what a container wrote', load: () => import('./commands/container/diff.js') },
  commit: { summary: 'make an image of a container', load: () => import('./commands/container/commit.js') },
  top: { summary: 'show the processes of a container', load: () => import('./commands/container/top.js') },
  stats: { summary: 'show what containers use', load: () => import('./commands/container/stats.js') },
  events: { summary: 'show what happens to containers', load: () => import('./commands/system/events.js') },
  ps: { summary: 'list containers', load: () => import('./commands/container/ps.js') },
  port: {
    summary: "show which ports of the host lead to a container's",
    load: () => import('./commands/container/port.js'),
  },
  logs: { summary: 'show the output of a container', load: () => import('./commands/container/logs.js') },
  images: { summary: 'list images', load: () => import('./commands/image/images.js') },
  import: { summary: 'make an image of a root file system', load: () => import('./commands/image/import.js') },
  pull: { summary: 'bring an image from its registry', load: () => import('./commands/image/pull.js') },
  load: { summary: 'bring the images of an archive into the store', load: () => import('./commands/image/load.js') },
  save: { summary: 'write images as an archive', load: () => import('./commands/image/save.js') },
  tag: { summary: 'give an image one more name', load: () => import('./commands/image/tag.js') },
  history: { summary: 'show how an image was made', load: () => import('./commands/image/history.js') },
  inspect: {
    summary: 'say all there is to say of containers and images',
    load: () => import('./commands/system/inspect.js'),
  },
  rmi: { summary: 'remove images', load: () => import('./commands/image/rmi.js') },
  prune: { summary: 'remove images that nothing needs', load: () => import('./commands/image/prune.js') },
  df: { summary: "show what the store takes of the host's disk", load: () => import('./commands/system/df.js') },
  network: { summary: 'make, list and remove private networks', load: () => import('./commands/network/network.js') },
  volume: { summary: 'make, list and remove volumes', load: () => import('./commands/volume/volume.js') },
  login: { summary: 'log in to a registry', load: () => import('./commands/system/login.js') },
  logout: { summary: 'log out from a registry', load: () => import('./commands/system/logout.js') },
  kernel: { summary: "build and find the guest's kernel", load: () => import('./commands/system/kernel.js') },
  completion: { summary: 'write the completion script of a shell', load: () => import('./completion.js') },
  doctor: { summary: 'say what this machine has and lacks', load: () => import('./commands/system/doctor.js') },
};

/** Words that are not for people, or are reached through a group alone. */
const HIDDEN: Record<string, CommandEntry> = {
  __complete: {
    summary: 'answer a completion script',
    load: async () => ({ command: (await import('./completion.js')).complete }),
  },
  'container prune': {
    summary: 'remove containers that do not run',
    load: () => import('./commands/container/prune.js'),
  },
};

function same(...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, name]));
}

/** `tsvm image ls` is `tsvm images`, as with Docker. */
export const GROUPS: Record<string, Record<string, string>> = {
  image: { ls: 'images', rm: 'rmi', ...same('pull', 'import', 'load', 'save', 'tag', 'history', 'inspect', 'prune') },
  container: {
    ls: 'ps',
    prune: 'container prune',
    ...same('run', 'create', 'start', 'stop', 'restart', 'kill', 'wait', 'rm', 'rename', 'exec', 'attach'),
    ...same('pause', 'unpause', 'cp', 'diff', 'commit', 'top', 'stats', 'port', 'logs', 'inspect'),
  },
};

/** Which command is meant, and what of the words are its arguments; nothing if there is no such command. */
export function findCommand(
  words: readonly string[],
): { name: string; entry: CommandEntry; args: readonly string[] } | undefined {
  const [first = '', second = ''] = words;
  const group = Object.hasOwn(GROUPS, first) ? GROUPS[first] : undefined;
  if (group !== undefined && !Object.hasOwn(group, second)) return undefined;
  const name = group === undefined ? first : group[second];
  const tables = [COMMANDS, HIDDEN].filter(
    (table) => Object.hasOwn(table, name) && (group !== undefined || !name.includes(' ')),
  );
  if (tables.length === 0) return undefined;
  return { name, entry: tables[0][name], args: words.slice(group === undefined ? 1 : 2) };
}
