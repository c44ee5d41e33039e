# What the scripts beside this one share. LORE is the program; LORE_JOBS the folder of jobs that were handed out, each
# under the hash of its work.json (`keep` puts them there).
lore=${LORE:-lore}
jobs=${LORE_JOBS:-../lore-jobs}

# The job that a result says it belongs to; whether that is so `lore work verify` finds out.
job_of() {
  local id
  id=$(tar -xOf "$1" result.json | sed -n 's/^ *"work": "\([0-9a-f]\{64\}\)",\{0,1\}$/\1/p' | head -1)
  [ -n "$id" ] && [ -f "$jobs/$id.tar" ] || { echo "$1: no job of ours" >&2; return 1; }
  echo "$jobs/$id"
}
