-- Counts out what has expired. Returns how many results; where that is the most of a call, more may be left.
write_even_if_full()
return sweep(most)
