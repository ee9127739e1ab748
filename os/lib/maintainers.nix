# People and teams that modules' meta attributes name. Firn keeps no such list: any name stands for itself.
{ }
