"""Publishing usage events: what is published is judged before, by the very decoder that workers judge records with."""
