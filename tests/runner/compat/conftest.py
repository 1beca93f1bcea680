from support.peer import find_peer

find_peer()
