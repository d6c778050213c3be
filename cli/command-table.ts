// The commands by name. A command's file is loaded when it is the one that runs.
import type { CommandEntry, CommandGroup, CommandTable } from './commands/command.js';

const COMMANDS: Record<string, CommandEntry> = {
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
  login: { summary: 'log in to a registry', load: () => import('./commands/system/login.js') },
  logout: { summary: 'log out from a registry', load: () => import('./commands/system/logout.js') },
  completion: { summary: 'write the completion script of a shell', load: () => import('./completion.js') },
  doctor: { summary: 'say what this machine has and lacks', load: () => import('./commands/system/doctor.js') },
  'container prune': {
    summary: 'remove containers that do not run',
    load: () => import('./commands/container/prune.js'),
  },
  'network create': { summary: 'make a network', load: () => import('./commands/network/create.js') },
  'network ls': { summary: 'list networks', load: () => import('./commands/network/ls.js') },
  'network rm': { summary: 'remove networks', load: () => import('./commands/network/rm.js') },
  'network inspect': { summary: 'describe networks as JSON', load: () => import('./commands/network/inspect.js') },
  'network connect': {
    summary: 'put a container into a network',
    load: () => import('./commands/network/connect.js'),
  },
  'network disconnect': {
    summary: 'take a container out of a network',
    load: () => import('./commands/network/disconnect.js'),
  },
  'network prune': {
    summary: 'remove networks that no container is in',
    load: () => import('./commands/network/prune.js'),
  },
  'volume create': { summary: 'make a volume', load: () => import('./commands/volume/create.js') },
  'volume ls': { summary: 'list volumes', load: () => import('./commands/volume/ls.js') },
  'volume rm': { summary: 'remove volumes', load: () => import('./commands/volume/rm.js') },
  'volume inspect': { summary: 'describe volumes as JSON', load: () => import('./commands/volume/inspect.js') },
  'volume prune': {
    summary: 'remove volumes that no container has',
    load: () => import('./commands/volume/prune.js'),
  },
  'kernel path': { summary: "print a built kernel's path", load: () => import('./commands/kernel/path.js') },
  'kernel ls': { summary: 'list built kernels', load: () => import('./commands/kernel/ls.js') },
  'kernel build': { summary: 'build a kernel', load: () => import('./commands/kernel/build.js') },
};

const HIDDEN: Record<string, CommandEntry> = {
  __complete: {
    summary: 'answer a completion script',
    load: async () => ({ command: (await import('./completion.js')).complete }),
  },
};

/** Words of a group that are the names of commands. */
function same(...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, name]));
}

/** Words of a group that are reached through it alone. */
function inGroup(group: string, ...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, `${group} ${name}`]));
}

/** `tsvm image ls` is `tsvm images`, as with Docker. */
const GROUPS: Record<string, CommandGroup> = {
  container: {
    summary: 'manage containers',
    commands: {
      ...same('run', 'create', 'start', 'stop', 'restart', 'kill', 'wait', 'rm', 'rename', 'exec', 'attach'),
      ...same('pause', 'unpause', 'cp', 'diff', 'commit', 'top', 'stats', 'port', 'logs', 'inspect'),
      ls: 'ps',
      ...inGroup('container', 'prune'),
    },
  },
  image: {
    summary: 'manage images',
    commands: {
      ls: 'images',
      rm: 'rmi',
      ...same('pull', 'import', 'load', 'save', 'tag', 'history', 'inspect', 'prune'),
    },
  },
  network: {
    summary: 'manage private networks, in which containers reach each other by name',
    commands: inGroup('network', 'create', 'ls', 'rm', 'inspect', 'connect', 'disconnect', 'prune'),
  },
  volume: {
    summary: 'manage volumes: folders that outlive containers',
    commands: inGroup('volume', 'create', 'ls', 'rm', 'inspect', 'prune'),
  },
  kernel: {
    summary: "build and find kernels: the guest's, and the lab's for tests",
    commands: inGroup('kernel', 'path', 'ls', 'build'),
  },
};

export const COMMAND_TABLE: CommandTable = { commands: COMMANDS, groups: GROUPS, hidden: HIDDEN };
