import { type Kysely, sql } from 'kysely'

/** What deletions have machines discard, and whether each machine has. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const statements: readonly string[] = [
  `alter table agents add takes_discards boolean not null default false`,
  `create table discards (
     agent_id uuid not null references agents, person_id uuid not null references people, scope text not null,
     asked_at timestamptz, done_at timestamptz, primary key (agent_id, person_id, scope))`,
  `create index open_discards on discards (agent_id) where done_at is null`,
  `insert into discards (agent_id, person_id, scope)
   select distinct l.endpoint_id, l.person_id, case when p.discards then '' else l.scope end
   from leases l join people p on p.id = l.person_id join workspaces w on w.id = l.workspace_id
   where l.overlay_at_start <> 'discard' and l.key_released_at is not null and (p.discards or (w.discards and l.scope <> ''))`,
  `insert into discards (agent_id, person_id, scope)
   select distinct s.host_id, s.person_id, '' from sessions s join people p on p.id = s.person_id where s.host_id is not null and p.discards`,
]
